"""`nasmeta search`: starts Hydra, checks everything before it makes a directory, and runs its jobs."""

import os
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from nasmeta.cli import output, sweep
from nasmeta.cli.sweep import Refused
from nasmeta.config import hydra_errors, hydra_setup
from nasmeta.config.arguments_of_hydra import prepared
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.schema import Config, parse
from nasmeta.run.manifest import Manifest, Numbers, SweepJob
from nasmeta.run.pruning import Prune
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.runtime.job_lines import told_apart

if TYPE_CHECKING:
    from nasmeta.run.composition import Composition

_checked: "Composition | None" = None
"""What was built and loaded to check a job before a directory is made; the job uses it when it begins."""


def search(arguments: list[str]) -> int:
    """`nasmeta search ARGUMENT...`, in Hydra's syntax. Hydra composes the jobs and runs each."""
    hydra_setup.install()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them and exiting
    arguments = prepared(arguments)
    sys.argv = ["nasmeta search", *arguments]  # summary.json has the command
    version.setbase("1.3")
    try:
        with hydra_setup.text_help(), sweep.current() as swept:
            parser = get_args_parser()
            parser.prog = "nasmeta search"
            options = parser.parse_intermixed_args(arguments)  # overrides may be before and after options
            if options.experimental_rerun is not None:
                parser.error("--experimental-rerun: resume a run with `nasmeta resume DIR` instead")
            try:
                _run_hydra(options, parser, _job, str(config_directory()), "search")
            except Exception:
                swept.conclude()  # a sweeper may raise if every job has failed
                raise
            swept.conclude()
    except Refused as refused:
        raise refused.error from None
    except Exception as error:
        raise hydra_errors.explain(error) from error
    return 0


def _begin(config: Config, path: Path, command: SearchCommand, prune: Prune | None = None) -> Numbers:
    from nasmeta.cli.run import complete, show
    from nasmeta.run.constraints import ready

    global _checked
    checked, _checked = _checked, None
    same = checked is not None and checked.config == config
    composition = checked if checked is not None and same else ready(config)
    return show(complete(composition, path, command, prune=prune), config, path)


@contextmanager
def _refused() -> Iterator[None]:
    """Carries an error of the block through Hydra, explained."""
    try:
        yield
    except Exception as error:
        raise Refused(hydra_errors.explain(error)) from error


class BeforeRun(Callback):
    """A Hydra callback that checks everything before a directory is made, and never overwrites a run.

    The configurations of all jobs of a sweep are checked before the first job. Whether a job's parts fit is
    checked when its turn comes.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from nasmeta.run.constraints import ready

        global _checked
        with _refused():
            checked = parse(sweep.without_hydra(config), trusted=True)
            output.check(config, "run")
            _checked = ready(checked)
            output.claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from nasmeta.runtime.device import give_back

        global _checked
        with _refused():
            _checked = sweep.start(config)
            if config.hydra.runtime.choices["hydra/launcher"] != "basic":
                give_back()  # other processes run the jobs


def _job(config: DictConfig) -> float | None:
    """Runs one job in the directory that Hydra made for it; its validation score, or None if it failed."""
    hydra = HydraConfig.get()
    command = sweep.command_of(hydra)
    directory = Path(hydra.runtime.output_dir)
    if hydra.mode != RunMode.MULTIRUN:
        with _refused(), chdir(hydra.runtime.cwd):  # hydra.job.chdir changes what a relative path means
            checked = _checked.config if _checked is not None else parse(config, trusted=True)
            return _begin(checked, directory, command)["score"]
    with chdir(hydra.runtime.cwd):
        checked = parse(config, trusted=True)
        manifest = Manifest(Path(hydra.sweep.dir).absolute())
    job = SweepJob(
        number=hydra.job.num,
        directory=sweep.job_directory(hydra),
        overrides=list(hydra.overrides.task),
        config=checked.to_dict(),
    )
    alone = hydra.runtime.choices["hydra/launcher"] == "basic"
    with nullcontext() if alone else told_apart(job.number):
        return sweep.run_job(manifest, job, lambda prune: _begin(checked, directory, command, prune))
