"""Which kind of table a path names; the file's name and its header decide."""

from hashlib import blake2b
from pathlib import Path

from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.tabular.benchmark import read_benchmark
from nasmeta.evaluators.tabular.few_shot import read_few_shot
from nasmeta.evaluators.tabular.nats import NatsTable
from nasmeta.evaluators.tabular.sheet import Sheet
from nasmeta.evaluators.tabular.table import Table
from nasmeta.runtime import files
from nasmeta.runtime.paths import absolute_folder

SHIPPED = {file.stem: file for file in (Path(__file__).parents[1] / "tables").glob("*.csv")}
"""The tables of this package; `evaluator.table` may be the name of one."""


def located(table: str) -> str:
    """The absolute path of a table; the name of a table of this package stays as it is."""
    return table if table in SHIPPED and not Path(table).exists() else absolute_folder(table)


def is_csv(table: str) -> bool:
    """Whether a table is read as plain text, and not unpickled like NATS-Bench's."""
    path = SHIPPED.get(table, Path(table))
    return not path.is_dir() and path.suffix != ".pbz2"


def open_table(path: Path, learner: str | None, dataset: str | None) -> Table:
    """Opens the table at `path`. Raises ConfigError that names the wrong key, column or line.

    A folder or a .pbz2 file is NATS-Bench's. A CSV with a column `valid_acc_12` is a benchmark table; any
    other CSV is read as a few-shot table.
    """
    path = SHIPPED.get(str(path), path)
    if not path.exists():
        raise ConfigError(
            f"evaluator.table: {path}: no such file; {suggest(path.name, SHIPPED)} (comes along)"
        )
    if not is_csv(str(path)):
        _refuse("learner", learner, path)
        return NatsTable(path, dataset)
    sheet = Sheet(path)
    if "valid_acc_12" in sheet.names:
        _refuse("learner", learner, path)
        _refuse("dataset", dataset, path)
        return read_benchmark(sheet)
    return read_few_shot(sheet, learner, dataset)


def fingerprint(table: str) -> str:
    """Equal for equal tables: a checksum of a CSV, and of the names and sizes of NATS-Bench's large files."""
    path = SHIPPED.get(table, Path(table))
    if is_csv(table):
        content = files.read_bytes(path, files.MAX_TABLE)
    else:
        parts = sorted(path.iterdir()) if path.is_dir() else [path]
        content = "".join(f"{part.name} {part.stat().st_size}\n" for part in parts).encode()
    return blake2b(content, digest_size=8).hexdigest()


def _refuse(key: str, value: str | None, path: Path) -> None:
    if value is not None:
        raise ConfigError(
            f"evaluator.{key}: got {value!r}, and {path} has no {key}s to choose from; leave it null"
        )
