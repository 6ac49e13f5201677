"""A run in TensorBoard, and a sweep of runs in its HParams tab."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasmeta.reporting.read.differences import Settings
from nasmeta.reporting.trackers.base import Tracker
from nasmeta.runtime import files
from nasmeta.runtime.text import printable


class TensorBoard(Tracker):
    """Writes event files into DIRECTORY/tensorboard/NAME.

    The final numbers, as `hparam/...`, and the settings are a run of their own inside of that. The HParams
    tab then shows these numbers alone. There is no list of settings in it, so the tab makes one itself, of
    all runs that it shows, with the settings that differ first.
    """

    package = "tensorboard"

    def __init__(self, *, directory: Path) -> None:
        super().__init__(directory=directory)
        self._writer: Any = None

    def begin(self, name: str, identity: str, settings: Settings) -> None:
        from torch.utils.tensorboard import SummaryWriter  # the import takes seconds

        if printable(str(self.directory)) != str(self.directory):
            raise ValueError("it cannot write to a path that is not UTF-8")
        place = self.directory / "tensorboard"
        known = [folder.name for folder in place.iterdir()] if place.is_dir() else []
        name = known[0] if len(known) == 1 else name  # a run that has grown keeps the name that it began with
        for folder in (place, place / name):
            files.make_folder(folder, inside=self.directory)
        self._writer = SummaryWriter(str(place / name))
        self._writer.flush()

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(tag, value, step)

    def image(self, tag: str, picture: Any, step: int) -> None:
        self._writer.add_image(tag, picture, step, dataformats="HWC")
        self._writer.flush()

    def text(self, tag: str, text: str, step: int) -> None:
        self._writer.add_text(tag, text, step)

    def finish(self, settings: Settings, results: Mapping[str, float], checkpoint: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        numbers = {f"hparam/{name}": value for name, value in results.items()}
        _, begun, ended = hparams(dict(settings), numbers)
        place = Path(self._writer.log_dir) / "result"
        files.make_folder(place, inside=self.directory)
        with SummaryWriter(str(place)) as writer:
            writer.file_writer.add_summary(begun)
            writer.file_writer.add_summary(ended)
            for tag, value in numbers.items():
                writer.add_scalar(tag, value)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
