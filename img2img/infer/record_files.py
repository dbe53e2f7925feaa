"""Where the lines of a record are: in files, or in the objects of a store."""

import itertools
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from img2img import locks, remote
from img2img.errors import DataError, told
from img2img.files import RECORD_FOLDER
from img2img.writing import make_folder, sync_folder

KINDS = ("begun", "manifest")
TOGETHER = 64  # finished lines in an object


class RecordFiles:
    """Files, to which each process appends lines: the record of a local folder."""

    def __init__(self, out: Path, part: str):
        self.folder = out / RECORD_FOLDER
        self._part = part

    def lines(self) -> Iterator[str]:
        """Of all processes: those before an output, then those after one."""
        for kind in KINDS:
            for path in sorted(self.folder.glob(f"{kind}*.jsonl")):
                with path.open(encoding="utf-8", errors="replace") as lines:
                    yield from lines

    def size(self, target: str) -> int | None:
        """The bytes of an output; None where there is none."""
        try:
            return os.stat(target).st_size
        except OSError:
            return None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A context in which lines can be appended, to files that no other process writes. Raises
        DataError where the folder can't be written.
        """
        with ExitStack() as stack:
            try:
                make_folder(self.folder)
                for number in itertools.count(1):
                    name = f"{self._part}-{number}" if number > 1 else self._part
                    self._begun = stack.enter_context(self._appended(f"begun{name}.jsonl"))
                    if locks.take(self._begun.fileno()) is not False:
                        break
                self._finished = stack.enter_context(self._appended(f"manifest{name}.jsonl"))
                sync_folder(self.folder)
            except OSError as error:
                raise DataError(f"{self.folder} can't be written {told(error)}") from None
            yield

    def begin(self, lines: bytes) -> None:
        """Write lines to the disk before their outputs are made. Raises OSError."""
        _append(self._begun, lines)
        os.fsync(self._begun.fileno())

    def finish(self, line: bytes) -> None:
        """Write the line of an output that was made. Raises OSError."""
        _append(self._finished, line)

    def sync(self) -> None:
        """Write the lines of finished outputs to the disk."""
        os.fsync(self._finished.fileno())

    def _appended(self, name: str) -> FileIO:
        """A file of the record, open to append."""
        lines = (self.folder / name).open("a+b", buffering=0)  # nothing to flush on a full disk
        if lines.tell():
            lines.seek(-1, os.SEEK_END)
            if lines.read(1) != b"\n":
                lines.write(b"\n")  # completes the partial line of a run that was killed
        return lines


class RecordObjects:
    """Objects beside the outputs in a store: the record of a remote folder. Nothing can be appended
    to an object, so every few lines are a new one, whose name no other process has.

    The lines of finished outputs are uploaded together; a process that is killed loses at most
    TOGETHER of them, whose outputs are then made again.
    """

    def __init__(self, out: str, part: str):
        self._out, self._part = out, part
        self.folder = f"{out}/{RECORD_FOLDER}"
        self._sizes: dict[str, int] = {}  # of the outputs that were there when lines were read
        self._waiting: list[bytes] = []

    def lines(self) -> Iterator[str]:
        """As of RecordFiles. Raises DataError."""
        try:
            files = remote.files_below(self._out)
            self._sizes = {file.url: file.remote.size for file in files}
            names = sorted(url for url in self._sizes if url.startswith(f"{self.folder}/"))
            for kind in KINDS:
                of_kind = [url for url in names if url.startswith(f"{self.folder}/{kind}")]
                for content in remote.read_each(of_kind):
                    yield from content.decode(errors="replace").splitlines()
        except OSError as error:
            raise DataError(f"{self._out} can't be read {told(error)}") from None

    def size(self, target: str) -> int | None:
        """The bytes of an output, as it was when lines were read; None where there was none."""
        return self._sizes.get(target)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A context in which lines can be appended; at its end all are uploaded."""
        try:
            yield
        finally:
            self.sync()

    def begin(self, lines: bytes) -> None:
        """Upload lines before their outputs are made. Raises OSError."""
        self._upload("begun", lines)

    def finish(self, line: bytes) -> None:
        """Keep the line of an output that was made, and upload those that wait if they are many.
        Raises OSError.
        """
        self._waiting.append(line)
        if len(self._waiting) >= TOGETHER:
            self.sync()

    def sync(self) -> None:
        """Upload the lines of finished outputs. Raises OSError."""
        if self._waiting:
            self._upload("manifest", b"".join(self._waiting))
            self._waiting.clear()

    def _upload(self, kind: str, lines: bytes) -> None:
        name = f"{kind}{self._part}-{time.time_ns()}-{secrets.token_hex(4)}.jsonl"
        remote.write(f"{self.folder}/{name}", lines)


def record_files(out: Path | str, part: str) -> RecordFiles | RecordObjects:
    """Those of an output folder, or of its URL."""
    return RecordFiles(out, part) if isinstance(out, Path) else RecordObjects(out, part)


def _append(file: FileIO, lines: bytes) -> None:
    remaining = memoryview(lines)
    while remaining:  # a full disk, or a limit, takes a part, and gives its reason the next time
        remaining = remaining[file.write(remaining) :]
