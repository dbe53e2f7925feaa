"""OUT/.img2img: which outputs were begun (begun.jsonl), and which were made, from which files, by
which model and options (manifest.jsonl).
"""

import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from img2img.infer.plan import Job, resolver
from img2img.infer.record_files import record_files
from img2img.remote import Remote, read

CHECKSUM = ', "crc32": "'  # before the last field of a line
ENTRY = struct.Struct("<qqqq")  # packed, because there may be a million of them


class Source(NamedTuple):
    """A file that an output was made from: its path, and what identifies its contents."""

    input: str  # absolute path, or a URL without a query
    size: int  # bytes
    mtime_ns: int  # of a remote file: a number that changes with its contents
    sha256: str


class Record:
    """Lines of JSON: one before an output is begun, and one when it is finished or has failed.

    Each shard writes files of its own, and so do processes that work at the same time; each reads
    all of them, in the order of the times. The line in begun.jsonl is on the disk before its output
    can appear, so that even after a power failure img2img knows its own files; and the names are in
    both files, so that it does when one of them is damaged. A line that does not match its checksum
    counts as missing.
    """

    def __init__(self, out: Path | str, shard: str = "1/1"):
        """out: the output folder, or its URL."""
        self.out = out
        part = "" if shard == "1/1" else "-" + shard.replace("/", "-of-")
        self._files = record_files(out, part)
        self.folder = self._files.folder
        # By the hash of the output: the ENTRY of its last finished line, None where it was begun
        # and not finished. An ENTRY holds a hash of the sources' paths and times, their size, a
        # hash of their contents, and the size of the output.
        self._made: dict[int, bytes | None] = {}
        # Inputs that were moved or touched since, with the sizes of their outputs; the caller
        # writes them to the file.
        self.moved: list[tuple[Job, tuple[Source, ...], int]] = []
        self._real = resolver()
        self.read()

    def read(self) -> None:
        """Read what all processes have written so far."""
        self._made.clear()
        last: dict[int, int] = {}  # time of the line that an output's entry comes from
        for line in self._files.lines():
            self._remember(line, last)

    def holds(self, job: Job, model: str, options: str) -> bool | None:
        """Whether the job's output exists, complete, from the same input, model and options.

        None where only the input's contents can tell: see `confirm`.
        """
        entry = self._made.get(self._hash(job))
        if entry is None:
            return False
        place, size, _, written = ENTRY.unpack(entry)
        if self._files.size(job.target) != written:
            return False
        try:
            sizes, times = _sizes_and_times(job)
        except OSError:
            return False  # deleted since the plan was made: reading it will report that
        if sum(sizes) != size:
            return False
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
            sources = _sources(job)
        except OSError:
            return False
        if contents != _contents((source.sha256 for source in sources), model, options):
            return False
        times = [source.mtime_ns for source in sources]
        place = self._place(job.files, times, model, options)
        self._made[key] = ENTRY.pack(place, size, contents, written)
        self.moved.append((job, sources, written))
        return True

    def exists(self, job: Job) -> bool:
        """Whether there is a file of the output's name."""
        return self._files.size(job.target) is not None

    def is_foreign(self, job: Job) -> bool:
        """Whether the output exists and was not made by img2img."""
        return self.exists(job) and self._hash(job) not in self._made

    def key(self, job: Job) -> str:
        """The output's path relative to the output folder."""
        if isinstance(self.out, Path):
            return os.path.relpath(job.target, self.out)
        return job.target.removeprefix(f"{self.out}/")

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A context in which `begin` and `finish` append lines to files that no other process
        writes. Raises DataError where the folder can't be written.
        """
        with self._files.opened():
            yield

    def begin(self, jobs: Sequence[Job]) -> None:
        """Write to the disk that the outputs of these jobs are img2img's. Raises OSError."""
        lines = ({"output": self.key(job), "status": "begun", "at": time.time_ns()} for job in jobs)
        self._files.begin(b"".join(map(_line, lines)))

    def finish(self, job: Job, status: str, fields: dict[str, object]) -> None:
        """Write that the job's output is finished ("ok"), or has failed ("error"). Raises OSError.

        fields: what it was made from, of which size it is, and `model` and `options`.
        """
        line = {"output": self.key(job), "status": status, "at": time.time_ns(), **fields}
        self._files.finish(_line(line))

    def sync(self) -> None:
        """Write the lines of finished outputs to the disk."""
        self._files.sync()

    def _hash(self, job: Job) -> int:
        return hash(self.key(job))

    def _remember(self, line: str, last: dict[int, int]) -> None:
        body, mark, rest = line.rpartition(CHECKSUM)
        if mark and rest.rstrip() != _checksum(body):
            return
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


def _line(fields: dict[str, object]) -> bytes:
    """The line of a record, whose last field is a CRC-32 of what is before it."""
    body = json.dumps(fields).removesuffix("}")
    return f"{body}{CHECKSUM}{_checksum(body)}\n".encode()


def _checksum(body: str) -> str:
    return f'{zlib.crc32(body.encode(errors="replace")):08x}"}}'


def _contents(digests: Iterable[str], model: str, options: str) -> int:
    return hash((tuple(digests), model, options))


def _sizes_and_times(job: Job) -> tuple[list[int], list[int]]:
    """Of the files of a job; in place of the time of a remote one, what changes with its contents.
    Raises OSError.
    """
    if job.remote:
        return [job.remote.size], [job.remote.stamp]
    statuses = [os.stat(file) for file in job.files]
    return [status.st_size for status in statuses], [status.st_mtime_ns for status in statuses]


def _sources(job: Job) -> tuple[Source, ...]:
    """What identifies the contents of a job's files, which are read. Raises OSError."""
    if job.remote:
        content = read(job.source, job.remote, max(job.remote.size, 0))
        return (remote_source(job.source, job.remote, content),)
    return tuple(map(_source, job.files))


def remote_source(url: str, remote: Remote, content: bytes) -> Source:
    """What identifies the contents of a remote file that was read."""
    return Source(url, len(content), remote.stamp, hashlib.sha256(content).hexdigest())


def _source(path: str) -> Source:
    status = os.stat(path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(os.path.abspath(path), status.st_size, status.st_mtime_ns, sha256)
