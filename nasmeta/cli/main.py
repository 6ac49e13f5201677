"""The command line: sub-commands and exit codes. Imports torch only if a command needs it.

Exit codes: 0 if done, 1 if the run failed, 2 if the input is wrong, 130 if interrupted. Results go to stdout.
Progress, logs and error messages of one line go to stderr.
"""

import argparse
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasmeta.cli.arguments import parsed
from nasmeta.config.conf_dir import config_directory
from nasmeta.errors import (
    Interrupted,
    NasmetaError,
    RunDirectoryError,
    RunFailed,
    StorageError,
    UserError,
)
from nasmeta.runtime.import_path import leave_out_current_folder
from nasmeta.runtime.text import PrintableFormatter, message, printable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasmeta.config.schema import Config
    from nasmeta.run.composition import Composition
    from nasmeta.run.manifest import Manifest
    from nasmeta.runtime.command_lines import SearchCommand

    Runs = Callable[[Any, Path, SearchCommand | None], float]
    """Runs a job, given its composed configuration, its directory, and the command that makes it."""

log = logging.getLogger(__name__)

INTERRUPTED = 130

TAKES_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p")
"""Options of Hydra whose value is the following word."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    leave_out_current_folder()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal has no ±, and file names may be anything
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        if arguments[:1] == ["search"]:
            return search(arguments[1:])
        options = parsed(arguments)
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:  # includes Interrupted
        _tell(str(interrupt) or "interrupted")
        return INTERRUPTED
    except NasmetaError as error:
        if debug:
            traceback.print_exc()
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:  # a reader such as `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
        return 1
    except OSError as error:  # a full disk or a forbidden folder that nobody else has reported
        if debug:
            traceback.print_exc()
        _tell(f"{error.filename or 'a file'}: {error.strerror or error}")
        return StorageError.exit_code


def _tell(text: str) -> None:
    """Prints one line on stderr about how a command ended; does nothing if its terminal was closed."""
    try:
        print(f"nasmeta: {message(text)}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # Python flushes it once more


def search(arguments: list[str]) -> int:
    """`nasmeta search ARGUMENT...`, with arguments in Hydra's syntax."""
    from nasmeta.config.schema import parse

    def begin(stored: Any, path: Path, command: "SearchCommand | None") -> float:
        from nasmeta.cli.launch import composed

        config = parse(stored, trusted=True)
        return _run(config, path, command=command, composition=composed(config))

    return _launch(arguments, begin)


def _launch(arguments: list[str], run: "Runs", played_again: Any = None) -> int:
    """Makes Hydra compose the jobs and run each. `played_again` is the manifest of a sweep to replay."""
    import hydra

    from nasmeta.cli import launch as launching
    from nasmeta.config import hydra_errors, hydra_setup
    from nasmeta.config.arguments_of_hydra import prepared

    hydra_setup.install()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them and exiting
    arguments = prepared(arguments)
    sys.argv = ["nasmeta search", *_overrides_last(arguments)]  # argparse wants them last
    launch = hydra.main(config_path=str(config_directory()), config_name="search", version_base="1.3")
    try:
        with hydra_setup.text_help(), launching.one_sweep(arguments, played_again) as sweep:
            try:
                launch(lambda config: _job(config, run))()
            except Exception as error:
                sweep.check_all_done(error)  # a sweeper may raise if every job has failed
                raise
            sweep.check_all_done()
    except launching.Refused as refused:
        raise refused.error from None
    except Exception as error:
        raise hydra_errors.explain(error) from error
    return 0


def _overrides_last(arguments: list[str]) -> list[str]:
    """The arguments with overrides after options, both in their order.

    An option keeps its value, even one that looks like an override, such as a folder `a=b`.
    """
    values = {n + 1 for n, argument in enumerate(arguments) if argument in TAKES_VALUE}
    last = [
        n not in values and not word.startswith("-") and ("=" in word or word.startswith("~"))
        for n, word in enumerate(arguments)
    ]
    return [arguments[n] for n in sorted(range(len(arguments)), key=last.__getitem__)]


def _job(config: "DictConfig", run: "Runs") -> float | None:
    """Runs one job in the directory that Hydra made for it; returns the number that a sweeper maximizes."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from nasmeta.cli.launch import Refused, command_of, hydra_job, job_directory
    from nasmeta.config.schema import parse
    from nasmeta.run.manifest import Job, Manifest
    from nasmeta.runtime.job_lines import told_apart

    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    command = command_of(hydra)
    with chdir(hydra.runtime.cwd):  # hydra.job.chdir would change what a relative path means
        checked = parse(config, trusted=True)
        sweep = Path(hydra.sweep.dir).absolute()
    if hydra.mode != RunMode.MULTIRUN:
        try:
            return run(checked.to_dict(), directory, command)
        except Exception as error:  # Hydra would first print all overrides
            raise Refused(error) from error
    job = Job(
        number=hydra.job.num,
        directory=job_directory(hydra),
        overrides=list(hydra.overrides.task),
        config=checked.to_dict(),
    )
    alone = hydra.runtime.choices["hydra/launcher"] == "basic"
    with nullcontext() if alone else told_apart(job.number):
        return hydra_job(Manifest(sweep), job, lambda: run(checked.to_dict(), directory, command))


def resume(options: argparse.Namespace) -> int:
    """`nasmeta resume DIR [KEY=VALUE ...]`, for a run or a sweep."""
    from nasmeta.run.directory import RunDirectory
    from nasmeta.run.manifest import Manifest

    manifest = Manifest(options.directory)
    if manifest.file.exists():
        return _resume_sweep(options, manifest)
    _resume_run(options, RunDirectory(options.directory).load_config(), options.directory, None)
    return 0


def _resume_sweep(options: argparse.Namespace, manifest: "Manifest") -> int:
    from nasmeta.run import sweep
    from nasmeta.run.directory import locked
    from nasmeta.run.environment import check_for_sweep
    from nasmeta.run.replay import replayed

    plan = manifest.read()
    check_for_sweep(plan, manifest.path, options.overrides, trusted=options.trust_code)
    gone_on = False

    def go_on(stored: Any, path: Path, command: "SearchCommand | None") -> float:
        nonlocal gone_on
        gone_on = True
        return _resume_run(options, stored, path, command)

    with locked(options.directory / "sweep.lock", "sweep"):
        if plan.total is None:
            _launch(replayed(plan, options.directory, trusted=options.trust_code), go_on, manifest)
        else:
            sweep.resume(manifest, lambda job, path: go_on(job.config, path, plan.command(job)))
    if options.overrides and not gone_on:
        raise RunDirectoryError(
            f"{manifest.path}: all jobs of the sweep are done, and nothing is left to be done with "
            f"{' '.join(options.overrides)}; begin a new sweep for that: nasmeta search -m ..."
        )
    sweep.check_all_done(manifest)
    return 0


def _resume_run(
    options: argparse.Namespace, stored: Any, path: Path, command: "SearchCommand | None"
) -> float:
    """Resumes the run in `path`, or begins it with the configuration `stored` and its `command`."""
    from nasmeta.config.overrides import reconfigured
    from nasmeta.config.schema import GROUPS
    from nasmeta.run import finished, journal, records
    from nasmeta.run.directory import RunDirectory

    directory = RunDirectory(path)
    if directory.journal.is_file():  # the run knows what it was last started with
        stored = directory.load_config()
        command = records.command(journal.read(directory.journal)[0]) or command
    config = reconfigured(stored, options.overrides, trusted=options.trust_code)
    summary = finished.result(path, config, options.overrides)
    if summary is not None:
        return _told(summary, config, path)
    if command is not None:
        command = command.changed(options.overrides, GROUPS)
    return _run(config, path, command=command, overrides=options.overrides, force=options.force)


def _run(
    config: "Config",
    path: Path,
    *,
    command: "SearchCommand | None",
    composition: "Composition | None" = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> float:
    """Begins or resumes the run in `path`; returns its validation score (see `_told`).

    command: what makes the run, if that is known. composition: what the configuration composes, if it is
    already built. overrides: the user's changes to a run that is resumed. force: allow changes that results
    depend on.
    """
    from nasmeta.config.schema import needs_trust
    from nasmeta.run.composition import Composition
    from nasmeta.run.directory import RunDirectory
    from nasmeta.run.environment import check_unchanged, environment, recorded
    from nasmeta.run.journal import Journal
    from nasmeta.run.search import Search
    from nasmeta.runtime.allocator import keep_pages
    from nasmeta.runtime.command_lines import command_line
    from nasmeta.runtime.signals import interruptible

    keep_pages()
    composition = composition or Composition.of(config)
    composition.log_notices()
    directory = RunDirectory(path)
    directory.keep_config(config.to_dict())  # first: with only a journal, the run could not be resumed
    again = command_line("resume", path, trusted=needs_trust(config.to_dict()))
    with directory.lock(), Journal(directory.journal) as journal, interruptible() as stop:
        before, now = recorded(journal.records), environment(composition)
        asked = any(record["event"] == "asked" for record in journal.records)
        check_unchanged(path, before, now, force=force, asked=asked, overrides=overrides)
        observers = _observers(config, directory)
        try:
            summary = Search(composition, directory, journal, observers, stop, command).run()
        except Interrupted as interrupted:
            raise Interrupted(f"{interrupted}; go on with: {again}") from None
        except StorageError as error:
            raise StorageError(
                f"{error}; nothing written before is harmed: free space, then: {again}"
            ) from error
        finally:
            for observer in observers:
                with suppress(OSError):  # its terminal was closed
                    observer.close()
    return _told(summary, config, path)


def _told(summary: dict[str, Any], config: "Config", path: Path) -> float:
    """Prints a run's closing table; returns its best network's validation score: higher is better."""
    from nasmeta.config.schema import needs_trust
    from nasmeta.reporting.tables.closing import closing_table

    trusted = needs_trust(config.to_dict())
    print(closing_table(summary, path, trusted=trusted, resumable=True))
    accuracy, loss = (summary["best"][name] for name in ("valid_accuracy", "valid_loss"))
    return float(-loss if accuracy is None else accuracy)


def _observers(config: "Config", directory: Any) -> list[Any]:
    observers: list[Any] = []
    if config.keys.progress:
        from nasmeta.reporting.progress import Progress

        observers.append(Progress())
    nameable = printable(str(directory.tensorboard)) == str(directory.tensorboard)
    if config.keys.tensorboard and not nameable:
        log.warning("%s: no TensorBoard files: it cannot write to a name that is no text", directory.path)
    elif config.keys.tensorboard:
        from nasmeta.reporting.tensorboard import TensorBoard

        observers.append(TensorBoard(directory.tensorboard))
    return observers


def evaluate(options: argparse.Namespace) -> int:
    """`nasmeta evaluate CHECKPOINT [KEY=VALUE ...]`."""
    from nasmeta.reporting.tables.closing import evaluation_line
    from nasmeta.runtime.allocator import keep_pages
    from nasmeta.trained.meta_test import meta_test

    keep_pages()
    result = meta_test(options.checkpoint, options.overrides, trusted=options.trust_code)
    if options.control:
        return _control(options, result)
    if options.json:
        print(json.dumps(result))
    else:
        names = ("accuracy", "ci95", "loss", "tasks", "way", "shot", "batch_norm")
        print(evaluation_line(**{name: result[name] for name in names}))
    return 0


def _control(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """`nasmeta evaluate CHECKPOINT --control`."""
    from nasmeta.reporting.tables.closing import control_table
    from nasmeta.runtime.signals import interruptible
    from nasmeta.trained.control import control

    with interruptible() as stop:
        compared = control(options.checkpoint, options.overrides, trusted=options.trust_code, stop=stop)
    print(json.dumps({**result, "control": compared}) if options.json else control_table(compared))
    return 0


def predict(options: argparse.Namespace) -> int:
    """`nasmeta predict CHECKPOINT --support DIR --query PATH...`."""
    from nasmeta.datasets.image_files import some
    from nasmeta.runtime import files
    from nasmeta.runtime.allocator import keep_pages
    from nasmeta.trained.classifier import FewShotClassifier
    from nasmeta.trained.prediction import (
        as_text,
        find_queries,
        find_support,
        fit_files,
        folder_accuracy,
        predictions,
    )

    _check_new(options.output)
    support = find_support(options.support)
    queries = find_queries(options.query)
    keep_pages()
    classifier = FewShotClassifier.load(options.checkpoint, device=options.device, trusted=options.trust_code)
    examples = fit_files(classifier, support)
    answers, unreadable = predictions(classifier, queries)
    text = as_text(answers, as_json=options.json, provisional=classifier.provisional)
    if options.output is None:
        sys.stdout.write(text)
    else:
        files.write_atomically(options.output, text.encode(errors="replace"))
    accuracy = folder_accuracy(answers)
    if accuracy is not None:
        shown = {file.resolve() for file in examples} & {file.resolve() for file in queries}
        warning = f"; {len(shown)} of them were among its examples" if shown else ""
        log.info("accuracy by the folders' names: %.1f %% of %d%s", 100 * accuracy, len(answers), warning)
    if unreadable:
        raise RunFailed(f"{len(unreadable)} of {len(queries)} images have no label: {some(unreadable)}")
    return 0


def export(options: argparse.Namespace) -> int:
    """`nasmeta export CHECKPOINT [--support DIR]`."""
    from nasmeta.trained.classifier import FewShotClassifier
    from nasmeta.trained.export import check_installed, export_onnx
    from nasmeta.trained.prediction import find_support, fit_files

    check_installed()
    folder = options.checkpoint if options.checkpoint.is_dir() else options.checkpoint.parent
    what = "embedding" if options.support is None else "classifier"
    output = options.output or folder / f"{what}.onnx"
    _check_new(output)
    support = None if options.support is None else find_support(options.support)
    classifier = FewShotClassifier.load(options.checkpoint, device="cpu", trusted=options.trust_code)
    examples = [] if support is None else fit_files(classifier, support)
    error = export_onnx(classifier, output, examples)
    log.info("checked: onnxruntime's outputs differ from torch's by at most %.1g", error)
    print(output)
    return 0


def _check_new(output: Path | None) -> None:
    """Raises UserError if a command's output would overwrite a file, or if its folder does not exist."""
    if output is not None and os.path.lexists(output):
        raise UserError(f"{output}: is there already (--output); name another file, or remove it")
    if output is not None and not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder (--output)")


def bench(options: argparse.Namespace) -> int:
    """`nasmeta bench [KEY=VALUE ...]`."""
    from nasmeta.cli.bench import benchmark
    from nasmeta.config.overrides import composed
    from nasmeta.config.schema import parse
    from nasmeta.reporting.tables.closing import benchmark_table
    from nasmeta.run.composition import Composition
    from nasmeta.runtime.allocator import keep_pages

    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    composition.log_notices()
    setting, measured = benchmark(
        composition, options.arch, seconds=options.seconds, repeats=max(options.repeats, 1)
    )
    rows = [row.to_dict() for row in measured]
    if options.json:
        for row in rows:
            print(json.dumps({**setting, **row}))
    else:
        print(benchmark_table(setting, rows))
    return 0


def report(options: argparse.Namespace) -> int:
    """`nasmeta report DIR [--output FILE]`."""
    from nasmeta.reporting.pages.report import write_report

    print(write_report(options.directory, options.output, trusted=options.trust_code))
    return 0


def compare(options: argparse.Namespace) -> int:
    """`nasmeta compare DIR... [--json] [--sort KEY]`."""
    from nasmeta.reporting.tables.compare import comparison, rows_of, warnings

    rows = rows_of(options.directories, options.sort)
    if not options.json:
        print("\n".join(printable(line) for line in comparison(rows).split("\n")))
        return 0
    for row in rows:
        print(json.dumps(row.to_dict()))
    for warning in warnings(rows):
        print(warning, file=sys.stderr)
    return 0


def list_options(options: argparse.Namespace) -> int:
    """`nasmeta list [GROUP]`."""
    from nasmeta.reporting.catalogue import catalogue

    print(catalogue([*options.config_dir, config_directory()], options.group))
    return 0


COMMANDS = {
    "resume": resume,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "bench": bench,
    "report": report,
    "compare": compare,
    "list": list_options,
}


if __name__ == "__main__":
    sys.exit(main())
