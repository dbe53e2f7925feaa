"""OUT/.img2img/manifest.jsonl: which outputs were made, from which files, by which model and
options.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from img2img.errors import DataError
from img2img.files import RECORD_FOLDER
from img2img.infer.plan import Job, resolver

ENTRY = struct.Struct("<qqqq")  # packed, because there may be a million of them


class Source(NamedTuple):
    """A file that an output was made from: its path, and what identifies its contents."""

    input: str  # absolute path
    size: int  # bytes
    mtime_ns: int
    sha256: str


class Record:
    """Lines of JSON: one when an output is begun, and one when it is finished or has failed.

    Each shard writes a file of its own and reads all of them, in the order of their times. A line
    is written before its output can appear, so that even after a kill img2img knows its own files.
    """

    def __init__(self, out: Path, shard: str = "1/1"):
        self.out = out
        part = "" if shard == "1/1" else "-" + shard.replace("/", "-of-")
        self.path = out / RECORD_FOLDER / f"manifest{part}.jsonl"
        # By the hash of the output: the ENTRY of its last finished line, None where it was begun
        # and not finished. An ENTRY holds a hash of the sources' paths and times, their size, a
        # hash of their contents, and the size of the output.
        self._made: dict[int, bytes | None] = {}
        # Inputs that were moved or touched since, with the sizes of their outputs; the caller
        # writes them to the file.
        self.moved: list[tuple[Job, tuple[Source, ...], int]] = []
        self._real = resolver()
        last: dict[int, int] = {}  # time of the line that an output's entry comes from
        for path in sorted(self.path.parent.glob("manifest*.jsonl")):
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self._remember(line, last)

    def holds(self, job: Job, model: str, options: str) -> bool | None:
        """Whether the job's output exists, complete, from the same input, model and options.

        None where only the input's contents can tell: see `confirm`.
        """
        entry = self._made.get(self._hash(job))
        if entry is None:
            return False
        place, size, _, written = ENTRY.unpack(entry)
        try:
            if os.stat(job.target).st_size != written:
                return False
            statuses = [os.stat(file) for file in job.files]
        except OSError:
            return False  # deleted since the plan was made: reading it will report that
        if sum(status.st_size for status in statuses) != size:
            return False
        times = [status.st_mtime_ns for status in statuses]
        if place == self._place(job.files, times, model, options):
            return True
        return None

    def confirm(self, job: Job, model: str, options: str) -> bool:
        """Whether an input that was moved, copied or touched still has the contents that its output
        was made from. If so, `holds` answers True from then on, and `moved` has the job.
        """
        key = self._hash(job)
        entry = self._made[key]
        assert entry is not None  # else `holds` has answered False
        _, size, contents, written = ENTRY.unpack(entry)
        try:
            sources = tuple(_source(file) for file in job.files)
        except OSError:
            return False
        if contents != _contents((source.sha256 for source in sources), model, options):
            return False
        times = [source.mtime_ns for source in sources]
        place = self._place(job.files, times, model, options)
        self._made[key] = ENTRY.pack(place, size, contents, written)
        self.moved.append((job, sources, written))
        return True

    def is_foreign(self, job: Job) -> bool:
        """Whether the output exists and was not made by img2img."""
        return os.path.exists(job.target) and self._hash(job) not in self._made

    def key(self, job: Job) -> str:
        """The output's path relative to the output folder."""
        return os.path.relpath(job.target, self.out)

    def open(self) -> FileIO:
        """The file to append lines to. Raises DataError where the folder can't be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.open("a+b")
            if lines.tell():
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":
                    lines.write(b"\n")  # completes the partial line of a run that was killed
            lines.close()
            return self.path.open("ab", buffering=0)  # nothing to flush when the disk is full
        except OSError as error:
            raise DataError(f"{self.path.parent} can't be written ({error.strerror}).") from None

    def _hash(self, job: Job) -> int:
        return hash(self.key(job))

    def _remember(self, line: str, last: dict[int, int]) -> None:
        try:
            entry = json.loads(line)
            output, status, at = hash(entry["output"]), entry["status"], entry.get("at", 0)
            if at < last.get(output, 0) or status not in ("begun", "ok"):
                return
            self._made[output], last[output] = None, at
            if status == "ok":
                model, options = entry["model"], entry["options"]
                files = [entry, *entry.get("further", ())]
                times = [file["mtime_ns"] for file in files]
                place = self._place([file["input"] for file in files], times, model, options)
                contents = _contents((file["sha256"] for file in files), model, options)
                size = sum(file["size"] for file in files)
                self._made[output] = ENTRY.pack(place, size, contents, entry["written"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
            return  # the partial line of a run that was killed

    def _place(self, files: Iterable[str], times: Iterable[int], model: str, options: str) -> int:
        return hash((tuple(map(self._real, files)), tuple(times), model, options))


def _contents(digests: Iterable[str], model: str, options: str) -> int:
    return hash((tuple(digests), model, options))


def _source(path: str) -> Source:
    status = os.stat(path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(os.path.abspath(path), status.st_size, status.st_mtime_ns, sha256)
