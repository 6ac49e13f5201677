"""The journal of a run: an append-only file with one checksummed line per event.

It alone decides what a run has done. A line is a JSON object with the format version `v`, the event and a
CRC-32 of the rest. If a kill tore the last line, it is cut off when the journal is opened. A damaged line
anywhere else is an error, since what follows it could not be trusted.
"""

import json
import os
import zlib
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from nasmeta.errors import RunDirectoryError, StorageError
from nasmeta.run.records import JournalEvent, parse
from nasmeta.runtime import files

FORMAT = 1

Record = dict[str, Any]


class Journal:
    """Opens the journal at `path`, or begins it; `records` are what its lines hold.

    If `durable` is set to False, the system decides when a line reaches the disk. A killed process still
    loses no line, and a power cut only the last ones. That is for runs that could repeat all their trials in
    the time of an fsync.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.durable = True
        self.records, good = read(path)
        try:
            self._file = files.appending(path, inside=path.parent)
            if self._file.tell() > good:
                self._file.truncate(good)
                self._sync()
        except files.Refused as error:
            raise RunDirectoryError(f"{path}: cannot be written: {error}") from error
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error

    @cached_property
    def events(self) -> list[JournalEvent]:
        """Its events; a Recorder adds those that it writes. Raises RunDirectoryError as `parse` does."""
        return parse(self.path, self.records)

    def append(self, event: str, **values: Any) -> Record:
        """Writes an event and returns its record, once it is on the disk if `durable`.

        Raises StorageError if it cannot be written, and then leaves nothing of it in the file.
        """
        record = {"v": FORMAT, "event": event, **values}
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._write(_line(record))
            self._sync()
        except OSError as error:
            os.ftruncate(self._file.fileno(), start)
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.records.append(record)
        return record

    def _write(self, data: bytes) -> None:
        while data:  # a full disk accepts a part and refuses the rest
            data = data[self._file.write(data) :]

    def _sync(self) -> None:
        if self.durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _line(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":"), allow_nan=False)
    data = body.encode()
    return _head(data) + data[1:] + b"\n"


def _head(body: bytes) -> bytes:
    """The beginning of a line, which replaces the opening brace of its body."""
    return b'{"crc":"%08x",' % zlib.crc32(body)


_HEAD = len(_head(b""))


def _parse(line: bytes) -> Record | None:
    """The record of a line; None if the line is damaged."""
    head, body = line[:_HEAD], b"{" + line[_HEAD:-1]
    if head != _head(body):  # compares bytes: encoding the record again would take twice as long
        return None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def events(path: Path) -> list[JournalEvent]:
    """The events of the journal at `path`, which nobody has open. Raises as `parse` and `read`."""
    lines, _ = read(path)
    return parse(path, lines)


def read(path: Path) -> tuple[list[Record], int]:
    """The records of a journal and the number of bytes that they take. A torn line may follow them.

    A missing journal has no records. Changes nothing. Raises RunDirectoryError if the journal cannot be read,
    or if a line other than the last is damaged.
    """
    try:
        data = files.read_bytes(path, files.MAX_JOURNAL, inside=path.parent)
    except (FileNotFoundError, NotADirectoryError):
        data = b""
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    records: list[Record] = []
    good = 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        record = _parse(line) if line.endswith(b"\n") else None
        if record is None:
            if number < len(lines):
                raise RunDirectoryError(
                    f"{path}: line {number} is damaged, and lines follow it; keep the first {number - 1} "
                    f"lines (head -n {number - 1}) to resume from there"
                )
            break
        if record.get("v") != FORMAT:
            raise RunDirectoryError(
                f"{path}: line {number} has format {record.get('v')!r}, this nasmeta reads {FORMAT}: resume "
                "the run with the version that began it"
            )
        if not isinstance(record.get("event"), str):
            raise RunDirectoryError(
                f"{path}: line {number} is not an event of a run; restore the run's own journal"
            )
        records.append(record)
        good += len(line)
    return records, good
