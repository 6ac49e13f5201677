"""A run in MLflow: in a folder, or on a server."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from nasmeta.reporting.read.differences import Settings
from nasmeta.reporting.trackers.base import Tracker
from nasmeta.runtime.stored import UsersOnly

FOLDER = "mlruns"
Place = Annotated[str, UsersOnly("it is written to, or contacted", harmless=lambda place: place == FOLDER)]

PATIENCE = "4"
"""How often a server that does not answer is asked again, which takes half a minute; MLflow's 7 take four."""


class MLflow(Tracker):
    """Writes to `place`, a folder or the address of a server, under the name `experiment`.

    In a folder there are a database, mlflow.db, and the pictures and checkpoints, in artifacts.
    """

    package = "mlflow"

    def __init__(self, *, directory: Path, place: Place, experiment: str) -> None:
        super().__init__(directory=directory)
        self._place, self._experiment = place, experiment
        self._client: Any = None
        self._run = ""

    def begin(self, name: str, identity: str, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", PATIENCE)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the closing table is there
        mlflow = self._imported()
        for chatty, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("urllib3", "ERROR")):
            logging.getLogger(chatty).setLevel(level)  # urllib3 warns each time that it asks again
        address, artifacts = self._place, None
        if "://" not in self._place:
            folder = Path(self._place).expanduser().absolute()
            folder.mkdir(parents=True, exist_ok=True)
            address, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        client = mlflow.MlflowClient(tracking_uri=address)
        known = client.get_experiment_by_name(self._experiment)
        number = known.experiment_id if known else client.create_experiment(self._experiment, artifacts)
        same = client.search_runs([number], f"tags.`nasmeta.run` = '{identity}'")
        tags = {"nasmeta.run": identity, "nasmeta.directory": str(self.directory)}
        run = same[0] if same else client.create_run(number, tags=tags, run_name=name)
        self._client, self._run = client, run.info.run_id
        client.update_run(self._run, "RUNNING")
        new = {key: str(value) for key, value in settings.items() if key not in run.data.params}
        params = [mlflow.entities.Param(key, value) for key, value in new.items()]
        for first in range(0, len(params), 100):  # MLflow takes a hundred at once
            client.log_batch(self._run, params=params[first : first + 100])

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._client.log_metric(self._run, tag, value, step=step)

    def image(self, tag: str, picture: Any, step: int) -> None:
        self._client.log_image(self._run, picture, artifact_file=f"{tag}/{step:06d}.png")

    def text(self, tag: str, text: str, step: int) -> None:
        self._client.log_text(self._run, text, f"{tag}/{step:06d}.txt")

    def finish(self, settings: Settings, results: Mapping[str, float], checkpoint: Path) -> None:
        for name, value in results.items():
            self._client.log_metric(self._run, name, value)
        if checkpoint.is_file():
            self._client.log_artifact(self._run, str(checkpoint))
        self._client.set_terminated(self._run)
        self._client = None

    def close(self) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run, "KILLED")
            self._client = None
