"""Runs the jobs of a sweep side by side, by one of Hydra's launchers."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from nasmeta.config import hydra_errors, hydra_setup
from nasmeta.config.arguments_of_hydra import prepared
from nasmeta.config.conf_dir import config_directory
from nasmeta.run.manifest import SweepJob
from nasmeta.runtime.job_lines import told_apart


def chosen(overrides: Sequence[str]) -> list[str]:
    """Those of the overrides that choose a launcher and its settings."""
    return [each for each in overrides if each.lstrip("+").startswith(("hydra/launcher=", "hydra.launcher."))]


def launch(
    directory: Path, overrides: Sequence[str], jobs: Sequence[SweepJob], run: Callable[[SweepJob], None]
) -> None:
    """Runs the jobs of the sweep in `directory`, each in a process of the launcher that the overrides choose.

    run: is pickled. Raises ConfigError if there is no such launcher.
    """
    from nasmeta.runtime.device import give_back

    hydra_setup.install()
    words = prepared([f"hydra.sweep.dir={directory.absolute()}", "hydra.output_subdir=null", *overrides])
    places = [prepared([f"hydra.sweep.subdir={job.directory}"]) for job in jobs]
    try:
        with initialize_config_dir(str(config_directory()), job_name="nasmeta", version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            config = hydra.compose_config("search", words, run_mode=RunMode.MULTIRUN)
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks()),
                task_function=partial(_run, {job.directory: job for job in jobs}, run),
                config=config,
            )
            give_back()  # other processes run the jobs
            ended = launcher.launch(places, initial_job_idx=0)
    except Exception as error:
        raise hydra_errors.explain(error) from error
    for job in ended:
        _ = job.return_value  # raises what the job raised


def _run(jobs: dict[str, SweepJob], run: Callable[[SweepJob], None], config: DictConfig) -> None:
    """Runs the job whose directory Hydra has made. Hydra's own `config` is not the job's."""
    job = jobs[HydraConfig.get().sweep.subdir]
    with told_apart(job.number):
        run(job)
