"""OUT/.img2img/manifest.jsonl: what was made, from which file, with which model and options."""

import json
import os
from io import FileIO
from pathlib import Path

from img2img.errors import DataError
from img2img.infer.plan import Job, resolver

FOLDER = ".img2img"


class Record:
    """Lines of JSON, one when an output is begun and one when it ended.

    Shards write a file each and read all of them, in the order in which things happened. A line is
    written before its output can appear, so after a kill every file that we made is known as ours.
    """

    def __init__(self, out: Path, shard: str = "1/1"):
        self.out = out
        part = "" if shard == "1/1" else "-" + shard.replace("/", "-of-")
        self.path = out / FOLDER / f"manifest{part}.jsonl"
        # Outputs that were ever begun -> a hash of what the last one was made from, and with; there
        # may be a million of them.
        self.made: dict[str, int | None] = {}
        self._real = resolver()
        last: dict[str, int] = {}  # when what is known of an output happened
        for path in sorted(self.path.parent.glob("manifest*.jsonl")):
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self._remember(line, last)

    def holds(self, job: Job, model: str, options: str) -> bool:
        """Whether that very output is there: same input file, model and options."""
        known = self.made.get(self.key(job))
        if known is None or not os.path.exists(job.target):
            return False
        try:
            stat = os.stat(job.source)
        except OSError:
            return False  # gone since the plan: reading it will say so
        source = self._real(job.source)
        return known == hash((source, stat.st_size, stat.st_mtime_ns, model, options))

    def is_foreign(self, job: Job) -> bool:
        """Whether the output exists and was not made by img2img."""
        return os.path.exists(job.target) and self.key(job) not in self.made

    def key(self, job: Job) -> str:
        return os.path.relpath(job.target, self.out)

    def open(self) -> FileIO:
        """The file to add lines to; DataError where OUT can't be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = self.path.open("a+b")
            if lines.tell():
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":
                    lines.write(b"\n")  # ends the half line of a run that was killed
            lines.close()
            return self.path.open("ab", buffering=0)  # on a full disk nothing is left to flush
        except OSError as error:
            raise DataError(f"{self.path.parent} can't be written ({error.strerror}).") from None

    def _remember(self, line: str, last: dict[str, int]) -> None:
        try:
            entry = json.loads(line)
            output, status, at = entry["output"], entry["status"], entry.get("at", 0)
            if at < last.get(output, 0) or status not in ("begun", "ok"):
                return
            self.made[output], last[output] = None, at
            if status == "ok":
                source = self._real(entry["input"])
                came = (source, entry["size"], entry["mtime_ns"], entry["model"], entry["options"])
                self.made[output] = hash(came)
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # the half line of a run that was killed
