"""The arguments of every sub-command, except those of `nasmeta search`, which Hydra parses."""

import argparse
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nasmeta import __version__
from nasmeta.trained.ready import checkpoint_path

DESCRIPTION = "Finds the neural network that learns new tasks fastest."
EPILOG = """\
examples:
  nasmeta search                                     the default job: strokes, ProtoNet, evolution
  nasmeta search dataset=omniglot meta_learner=maml  choose parts (see `nasmeta list`)
  nasmeta search -m seed=0,1,2                       a sweep, every job in a directory of its own
  nasmeta search --cfg job                           print the configuration and run nothing
  nasmeta train outputs/2026-11-24/10-00-00 seed=1   train its best network again, in full
  nasmeta resume outputs/2026-11-24/10-00-00         resume an interrupted run or sweep
  nasmeta evaluate outputs/2026-11-24/10-00-00       meta-test its best.pt
  nasmeta predict symbols --support cats_and_dogs --query photos
                                                     label pictures by a ready checkpoint
  nasmeta report outputs/2026-11-24/10-00-00         a page of its curves, front, architectures
  nasmeta show outputs/2026-11-24/10-00-00           where it stands, from another terminal
  nasmeta compare outputs                            a table of all runs in a folder
  nasmeta bench meta_learner=maml task.meta_batch=32 how fast this machine meta-trains
  nasmeta doctor dataset=omniglot                    check the machine, the data and the learner
"""


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The arguments of a command, with its name in `command`. Exits with 2 if they are not understood.

    Overrides may also follow a command's options; argparse does not assign those, so this function does.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nasmeta",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nasmeta {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "search", help="search, train the best, test it once: `search [overrides] [-m]`, Hydra's syntax"
    )
    for name, (about, add_arguments) in ARGUMENTS.items():
        add_arguments(commands.add_parser(name, help=about))
    commands.add_parser(
        "completion", help='complete commands, keys and options in bash or zsh: eval "$(nasmeta completion)"'
    )
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="an architecture's string; or a run or checkpoint, whose settings are the ones to start from",
    )
    _add_overrides(parser, "as for search: budget.final_iterations=5000 seed=1")
    parser.add_argument("-m", action="store_true", help="a sweep: -m seed=0,1,2")
    _add_trust(parser)


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=_path, metavar="DIR")
    _add_overrides(parser, "larger budgets, e.g. budget.trials=100; or changes, see --force")
    parser.add_argument(
        "--force", action="store_true", help="resume even if settings that results depend on have changed"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try the run's failed trials again; the results count"
    )
    _add_trust(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    _add_overrides(parser, "e.g. task.shot=5 dataset.root=FOLDER")
    parser.add_argument(
        "--control",
        action="store_true",
        help="also train and test, on the same tasks, a random architecture and the 4-conv of equal size",
    )
    _add_json(parser, "print one JSON object")
    _add_trust(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    parser.add_argument(
        "--support", type=_path, required=True, metavar="DIR", help="labelled images: DIR/CLASS/IMAGE"
    )
    parser.add_argument(
        "--query", type=_path, nargs="+", required=True, metavar="PATH", help="images to label, or folders"
    )
    parser.add_argument(
        "--output", type=_file_or_stdout, metavar="FILE", help="write here, not to stdout (which is -)"
    )
    _add_json(parser, "one JSON object a line, with all probabilities, instead of CSV")
    parser.add_argument(
        "--unknown",
        nargs="?",
        const="unknown",
        type=_label,
        metavar="LABEL",
        help="images that belong to no class get this label (default: unknown), by a calibrated distance",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    _add_trust(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    _add_checkpoint(parser)
    _add_overrides(parser, "e.g. batch_norm=running dataset.root=FOLDER")
    parser.add_argument(
        "--support",
        type=_path,
        metavar="DIR",
        help="labelled images, DIR/CLASS/IMAGE: the classifier adapted to them, not the embedding network",
    )
    parser.add_argument(
        "--format",
        choices=["onnx", "onnx-int8", "tflite", "tflite-int8"],
        default="onnx",
        help="onnx (default)",
    )
    parser.add_argument(
        "--parts",
        action="store_true",
        help="a folder of the embedding network, the classes' prototypes and C code that learns further ones",
    )
    parser.add_argument(
        "--max-loss",
        type=_at_least(0),
        metavar="POINTS",
        help="accuracy that int8 may lose on meta-test tasks, in points (default 1)",
    )
    parser.add_argument(
        "--output",
        type=_file,
        metavar="FILE",
        help="default: classifier, embedding or parts, beside the checkpoint; here, if it is a ready one",
    )
    _add_trust(parser)


def _bench(parser: argparse.ArgumentParser) -> None:
    _add_overrides(parser, "as for search")
    parser.add_argument("--arch", metavar="ARCH", help="this network instead of the reference")
    parser.add_argument(
        "--seconds", type=_at_least(0), default=5.0, help="seconds a row takes at least (default 5)"
    )
    parser.add_argument("--repeats", type=_count, default=5, help="repeats of a row at least (default 5)")
    _add_json(parser, "print one JSON object a row")


def _doctor(parser: argparse.ArgumentParser) -> None:
    _add_overrides(parser, "as for search")
    _add_json(parser, "print one JSON object a finding")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=_path, metavar="DIR")
    parser.add_argument("--output", type=_file, metavar="FILE", help="default: DIR/report.html")
    parser.add_argument(
        "--watch",
        type=_at_least(1),
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="write it again every SECONDS (default 10) until the run has ended; the page reloads itself",
    )
    _add_trust(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=_path, metavar="DIR")


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directories", type=_path, nargs="+", metavar="DIR", help="runs, sweeps, or folders of them"
    )
    parser.add_argument("--sort", metavar="KEY", help="e.g. test_accuracy, params, or any setting")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a run")
    form.add_argument(
        "--format", choices=["md", "csv", "latex"], help="for papers: a row a setting, means over seeds"
    )


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", nargs="?", metavar="GROUP", help="one config group only")
    parser.add_argument("--config-dir", type=_path, action="append", default=[], metavar="DIR")


ARGUMENTS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": ("train one architecture in full and test it: `train WHAT [overrides] [-m]`", _train),
    "resume": ("resume an interrupted run or sweep; more for a run", _resume),
    "evaluate": ("meta-test a checkpoint", _evaluate),
    "predict": ("label images by a checkpoint and a few examples", _predict),
    "export": ("write a network that runs without torch", _export),
    "bench": ("how fast this machine meta-trains and evaluates", _bench),
    "doctor": ("check this machine and a run before it starts", _doctor),
    "report": ("report.html of a run or a sweep", _report),
    "show": ("where a run or sweep stands, also while it goes on", _show),
    "compare": ("a table of runs", _compare),
    "list": ("what can be composed, one line each", _list),
}
"""What each command does, in a line, and the function that adds its arguments."""


def _add_overrides(parser: argparse.ArgumentParser, about: str) -> None:
    # With a default, Python before 3.13 does not call it required.
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help=about)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=checkpoint_path,
        metavar="CHECKPOINT",
        help="best.pt, its run, or the name of a ready one (see `nasmeta list checkpoints`)",
    )


def _add_json(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--json", action="store_true", help=about)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-code", action="store_true", help="let the stored configuration name code outside nasmeta"
    )


def _path(text: str) -> Path:
    """A path with `~` expanded, which shells do not do after `--option=`. It must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or folder; . is the current folder")
    return Path(text).expanduser()


def _label(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name the label, or leave it out for: unknown")
    return text


def _at_least(least: float) -> Callable[[str], float]:
    """The type of finite numbers that are not below `least`."""

    def number(text: str) -> float:
        with suppress(ValueError):
            if least <= float(text) < math.inf:
                return float(text)
        raise argparse.ArgumentTypeError(f"got {text!r}; a number, at least {least:g}")

    return number


def _count(text: str) -> int:
    """A whole number, at least 1."""
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"got {text!r}; a whole number, at least 1")


def _file(text: str) -> Path:
    """A path to write to; `-` is refused, because the output cannot go to stdout."""
    if text == "-":
        raise argparse.ArgumentTypeError("this is not written to stdout; for a file of that name, type ./-")
    return _path(text)


def _file_or_stdout(text: str) -> Path | None:
    """A path to write to; None for `-`, which is stdout."""
    return None if text == "-" else _path(text)
