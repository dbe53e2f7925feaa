"""The metrics of a run: metrics.csv, means of loss terms, and the progress display."""

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from img2img import files
from img2img.training.ranks import Ranks
from img2img.writing import write_whole

LOOKED = "health/gradient"  # a column that every look fills
Row = dict[str, float]


def read_rows(run: Path) -> list[dict[str, str]]:
    """The complete rows of a run's metrics.csv, as text; those without a step are left out."""
    return [row for row in files.read_rows(run / "metrics.csv") if row.get("step")]


class MetricsLog:
    """Writes metrics.csv row by row. Rows after the resumed step are dropped."""

    def __init__(self, run: Path, step: int):
        self.run, self.path = run, run / "metrics.csv"
        self.columns: list[str] = []
        kept = [row for row in self._rows() if row["step"].isdecimal() and int(row["step"]) <= step]
        if kept:
            self.columns = [name for name in kept[0] if name]
            self._rewrite(kept)
        else:
            self.path.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Append a row, whose new columns are empty in earlier rows."""
        new = [name for name in row if name not in self.columns]
        if new:  # the first row, or the first with a generator step in it
            kept = self._rows()
            self.columns += new
            self._rewrite(kept)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def sync(self) -> None:
        """Write the rows to the disk, so that after a power failure a checkpoint has its rows."""
        if self.path.exists():
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())

    def complete(self, step: int, looked: Row) -> None:
        """Add the results of a look to the row of its step, which was written before."""
        rows = self._rows()
        self.columns += [name for name in looked if name not in self.columns]
        self._rewrite([{**row, **looked} if int(row["step"]) == step else row for row in rows])

    def looked_at(self, step: int) -> bool:
        """Whether the row of the step has the results of a look."""
        return any(int(row["step"]) == step and row.get(LOOKED) for row in self._rows())

    def history(self, step: int) -> dict[str, list[float]]:
        """The values of each column before a step."""
        rows = [row for row in self._rows() if int(row["step"]) < step]
        return {name: [float(row[name]) for row in rows if row.get(name)] for name in self.columns}

    def _rows(self) -> list[dict[str, str]]:
        return read_rows(self.run)

    def _rewrite(self, rows: Sequence[Mapping[str, str | float]]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, self.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, buffer.getvalue())


class Means:
    """The means of loss terms over several steps, summed on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, terms: dict[str, torch.Tensor]) -> None:
        for name, term in terms.items():
            self.sums[name] = self.sums[name] + term if name in self.sums else term
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, ranks: Ranks) -> Row:
        """The means since the last call, over all ranks. Only here does training wait for the
        device.
        """
        if not self.sums:
            return {}
        values = torch.stack([value.float() for value in self.sums.values()])
        ranks.average([values])
        means = {n: v / self.counts[n] for n, v in zip(self.sums, values.tolist(), strict=True)}
        self.sums, self.counts = {}, {}
        return means


class Display:
    """A progress bar with all losses on a terminal; elsewhere a line about every ten seconds."""

    def __init__(self, console: Console, total: int, done: int):
        self.console, self.total = console, total
        self.last_line = 0.0
        self.bar = Progress(
            BarColumn(20),
            TaskProgressColumn(),
            TextColumn("{task.completed:,}/{task.total:,} steps {task.fields[speed]} left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn(
                "{task.fields[losses]}", table_column=Column(ratio=1, no_wrap=False), style="dim"
            ),
            console=console,
            expand=True,
        )
        self.task = self.bar.add_task("", total=total, completed=done, speed="", losses="")

    def start(self) -> None:
        if self.console.is_terminal:
            self.bar.start()

    def close(self) -> None:
        self.bar.stop()

    def advance(self) -> None:
        self.bar.advance(self.task)

    def show(self, row: Row) -> None:
        losses = "  ".join(f"{name} {value:.3g}" for name, value in row.items() if "/" in name)
        speed = f"{row['images_per_second']:.1f} images/s"
        if row["data_wait"] > 0.03:
            speed += f" ({row['data_wait']:.0%} waiting for data)"
        self.bar.update(self.task, speed=speed, losses=losses)
        now = time.monotonic()
        if not self.console.is_terminal and (
            now - self.last_line > 10 or row["step"] == self.total
        ):
            self.last_line = now
            left = (self.total - row["step"]) * row["seconds"] / max(row["step"], 1) / 60
            step = f"step {row['step']:.0f}/{self.total}"
            self.console.print(f"{step}  {speed}  {left:.1f} min left  {losses}")
