"""`nasmeta resume DIR [KEY=VALUE ...]`, for a run or a sweep."""

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import Any

from nasmeta.cli import launcher
from nasmeta.cli.run import complete, show
from nasmeta.cli.sweep import conclude
from nasmeta.config.overrides import keys_of, recomposed, reconfigured
from nasmeta.config.schema import OPTION_GROUPS, parse
from nasmeta.errors import RunDirectoryError
from nasmeta.run import finished, journal, records, sweep
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import ready
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import is_harmless
from nasmeta.run.grid import more_jobs
from nasmeta.run.manifest import Manifest, Numbers, SweepJob, SweepPlan
from nasmeta.run.pruning import Prune
from nasmeta.run.state import RunState
from nasmeta.run.study import with_more_trials
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand, command_line

log = logging.getLogger(__name__)


def resume(options: argparse.Namespace) -> int:
    """Resumes the run or the sweep in `options.directory`, with the changes in `options.overrides`."""
    manifest = Manifest(options.directory)
    if manifest.file.exists():
        if options.retry_failed:
            raise RunDirectoryError(
                f"{manifest.path}: --retry-failed is for the trials of one run; a sweep always tries failed "
                "jobs again; name a job: "
                + command_line("resume", manifest.path / "NUMBER", "--retry-failed")
            )
        _resume_sweep(options, manifest)
    else:
        _resume_run(options, options.directory)
    return 0


def _resume_sweep(options: argparse.Namespace, manifest: Manifest) -> None:
    plan = manifest.read()
    by = launcher.chosen(options.overrides)
    rest = [override for override in options.overrides if override not in by]
    plan.study, options.overrides = with_more_trials(plan.study, rest, len(plan.jobs))

    def config_of(overrides: list[str]) -> dict[str, Any]:
        whole = [*plan.search_path, *overrides]
        return recomposed(whole, plan.options, trusted=options.trust_code).to_dict()

    more = list[SweepJob]()
    if plan.total is not None and plan.study is None:
        more, options.overrides = more_jobs(plan, options.overrides, config_of)
    _check_overrides(plan, manifest.path, options.overrides, trusted=options.trust_code)
    for job in more[:1]:
        Composition.of(parse(job.config, trusted=options.trust_code))
    given = [o.partition("=")[2] for o, key in keys_of(options.overrides).items() if key == "on_failure"]
    with files.locked(options.directory / "sweep.lock", "sweep"):
        if more:
            manifest.extend(more)
        if plan.study is not None:
            manifest.keep_study(plan.study)
        resumed = sweep.resume(
            manifest,
            partial(_resume_job, options, plan),
            config_of,
            launch=partial(launcher.launch, manifest.path, by) if by else sweep.one_by_one,
            on_failure=given[-1] if given else None,
        )
    if options.overrides and not resumed:
        raise RunDirectoryError(
            f"{manifest.path}: all jobs of the sweep are done, so {' '.join(options.overrides)} changes "
            "nothing; start a new sweep: nasmeta search -m ..."
        )
    conclude(manifest)


def _check_overrides(plan: SweepPlan, path: Path, overrides: list[str], *, trusted: bool) -> None:
    """Checks overrides for all unfinished jobs of the sweep in `path`.

    Raises RunDirectoryError for an override that results depend on, since jobs would then differ in more
    than the sweep's settings. Raises ConfigError for one that does not fit the first job that has not ended.
    """
    for override, key in keys_of(overrides).items():
        if not is_harmless(f"config.{key}"):
            one = command_line("resume", path / "NUMBER", override, "--force", trusted=trusted)
            raise RunDirectoryError(
                f"{path}: {override}: the jobs of a sweep keep what their results depend on; "
                f"change one job alone: {one}, or start a new sweep: nasmeta search -m ..."
            )
    unfinished = [job for job in plan.jobs if job.status in ("planned", "running")]
    if overrides and unfinished:
        Composition.of(reconfigured(unfinished[0].config, overrides, trusted=trusted))


def _resume_job(
    options: argparse.Namespace, plan: SweepPlan, job: SweepJob, path: Path, prune: Prune | None
) -> Numbers:
    """Begins or resumes a job of the sweep in its directory `path`; can be pickled."""
    return _resume_run(options, path, (job.config, plan.command(job)), prune)


def _resume_run(
    options: argparse.Namespace,
    path: Path,
    planned: tuple[dict[str, Any], SearchCommand] | None = None,
    prune: Prune | None = None,
) -> Numbers:
    """Resumes the run in `path`. A job of a sweep that has not begun begins as it was `planned`.

    planned: its configuration and its command.
    """
    directory = RunDirectory(path)
    begun, state = directory.journal.is_file(), RunState.replay(journal.events(directory.journal))
    stored, command = planned or ({}, None)
    if begun or planned is None:  # the run knows what it was last started with
        stored, command = directory.load_config(state.starts), records.command(state.starts) or command
    config = reconfigured(stored, options.overrides, trusted=options.trust_code)
    if options.retry_failed and not state.failed:
        log.info("%s: no trial has failed, so none is tried again", path)
    retry = options.retry_failed
    summary = finished.finished_summary(
        directory, state, config, options.overrides, retry_failed=retry, in_sweep=planned is not None
    )
    if summary is not None:
        return show(summary, config, path)
    if command is not None:
        command = command.changed(options.overrides, OPTION_GROUPS)
    composition = Composition.of(config) if begun else ready(config)
    summary = complete(
        composition,
        path,
        command,
        overrides=options.overrides,
        force=options.force,
        retry_failed=retry,
        prune=prune,
    )
    return show(summary, config, path)
