"""`nasmeta resume DIR [KEY=VALUE ...]`, for a run or a sweep."""

import argparse
from pathlib import Path
from typing import Any

from nasmeta.cli import search
from nasmeta.cli.run import run, show
from nasmeta.config.arguments_of_hydra import in_quotes
from nasmeta.config.overrides import reconfigured
from nasmeta.config.schema import GROUPS, Config
from nasmeta.errors import RunDirectoryError, UntrustedError
from nasmeta.run import finished, journal, records, sweep
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import ready
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import check_for_sweep
from nasmeta.run.manifest import Manifest, Plan
from nasmeta.run.state import RunState
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line


def resume(options: argparse.Namespace) -> int:
    """Resumes the run or the sweep in `options.directory`, with the changes in `options.overrides`."""
    manifest = Manifest(options.directory)
    if manifest.file.exists():
        _resume_sweep(options, manifest)
    else:
        _resume_run(options, RunDirectory(options.directory).load_config(), options.directory, None)
    return 0


def _resume_sweep(options: argparse.Namespace, manifest: Manifest) -> None:
    plan = manifest.read()
    check_for_sweep(plan, manifest.path, options.overrides, trusted=options.trust_code)
    arguments = _replayed(plan, manifest, trusted=options.trust_code) if plan.learns else []
    resumed = False

    def resume_job(stored: Any, path: Path, command: SearchCommand) -> float:
        nonlocal resumed
        resumed = True
        return _resume_run(options, stored, path, command)

    def proposed(config: Config, path: Path, command: SearchCommand) -> float:
        return resume_job(config.to_dict(), path, command)

    with files.locked(options.directory / "sweep.lock", "sweep"):
        if plan.learns:
            search.launch(arguments, proposed, manifest)
        else:
            sweep.resume(manifest, lambda job, path: resume_job(job.config, path, plan.command(job)))
    if options.overrides and not resumed:
        raise RunDirectoryError(
            f"{manifest.path}: all jobs of the sweep are done, so {' '.join(options.overrides)} changes "
            "nothing; start a new sweep: nasmeta search -m ..."
        )
    sweep.check_all_done(manifest)


def _replayed(plan: Plan, manifest: Manifest, *, trusted: bool) -> list[str]:
    """The arguments with which Hydra replays a sweep in its directory; UntrustedError unless `trusted`."""
    if not trusted:
        raise UntrustedError(
            f"{manifest.file}: Hydra would replay its arguments, which can run any code; if the sweep is "
            f"your own: {manifest.resume_command()}; or resume the jobs one by one: "
            + command_line("resume", manifest.path / "NUMBER")
        )
    kept = [argument for argument in plan.arguments if not argument.startswith("hydra.sweep.dir=")]
    place = f"hydra.sweep.dir={in_quotes(str(manifest.path.absolute()))}"
    return [*kept, place, "hydra.output_subdir=null"]  # what Hydra would write there is there


def _resume_run(options: argparse.Namespace, stored: Any, path: Path, command: SearchCommand | None) -> float:
    """Resumes the run in `path`, or begins it with the configuration `stored` and its `command`."""
    directory = RunDirectory(path)
    begun, state = directory.journal.is_file(), RunState.replay(journal.events(directory.journal))
    if begun:  # the run knows what it was last started with
        stored, command = directory.load_config(), records.command(state.starts) or command
    config = reconfigured(stored, options.overrides, trusted=options.trust_code)
    summary = finished.result(directory, state, config, options.overrides)
    if summary is not None:
        return show(summary, config, path)
    if command is not None:
        command = command.changed(options.overrides, GROUPS)
    composition = Composition.of(config) if begun else ready(config)
    return run(composition, path, command, overrides=options.overrides, force=options.force)
