"""Hydra's sweeper `optuna`: Optuna proposes the jobs, and the chosen launcher runs them.

Hydra finds sweepers only in the package `hydra_plugins`, and imports all of them whenever an application
starts. So this module imports little.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Runs the study that nasmeta has planned; `settings` are those of conf/hydra/sweeper/optuna.yaml.

    nasmeta checks them, and writes them into the sweep's manifest, before Hydra makes the sweeper.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        from nasmeta.cli.sweep import launch_study

        assert self.launcher is not None, "Hydra calls setup first"
        return launch_study(self.launcher)
