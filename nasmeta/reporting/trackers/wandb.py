"""A run in Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from nasmeta.reporting.read.differences import Settings
from nasmeta.reporting.trackers.base import Tracker
from nasmeta.runtime import files
from nasmeta.runtime.stored import UsersOnly

Mode = Annotated[
    Literal["offline", "online"],
    UsersOnly("it sends the run to a server", harmless=lambda mode: mode == "offline"),
]


class WandB(Tracker):
    """Logs to the `project`: by `mode`, into DIRECTORY/wandb, or to the server of your account too."""

    package = "wandb"

    def __init__(self, *, directory: Path, project: str, mode: Mode) -> None:
        super().__init__(directory=directory)
        self._project, self._mode = project, mode
        self._families: set[str] = set()
        self._run: Any = None

    def begin(self, name: str, identity: str, settings: Settings) -> None:
        wandb = self._imported()
        files.make_folder(self.directory / "wandb", inside=self.directory)
        self._run = wandb.init(
            project=self._project,
            mode=self._mode,
            dir=str(self.directory),
            id=identity,
            name=name,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(silent=True),
        )

    def _log(self, tag: str, value: Any, step: int) -> None:
        """Logs a value by the steps of its family; those of the whole run would have to increase."""
        family = tag.rpartition("/")[0]
        if family not in self._families:
            self._families.add(family)
            self._run.define_metric(f"{family}/*", step_metric=f"{family}/step")
        self._run.log({tag: value, f"{family}/step": step})

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._log(tag, value, step)

    def image(self, tag: str, picture: Any, step: int) -> None:
        self._log(tag, self._imported().Image(picture), step)

    def text(self, tag: str, text: str, step: int) -> None:
        self._run.summary[f"{tag}/text"] = text

    def finish(self, settings: Settings, results: Mapping[str, float], checkpoint: Path) -> None:
        self._run.summary.update(dict(results))
        if checkpoint.is_file():
            artifact = self._imported().Artifact(f"best-{self._run.id}", type="model")
            artifact.add_file(str(checkpoint))
            self._run.log_artifact(artifact)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
