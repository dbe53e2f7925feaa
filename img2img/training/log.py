"""What a run leaves to read: metrics.csv, TensorBoard events, a progress bar, a model card."""

import contextlib
import csv
import io
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch.utils.tensorboard import SummaryWriter

from img2img import __version__
from img2img.files import write_whole
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.ranks import Ranks

LOOKED = "health/gradient"  # a column that every look fills
Row = dict[str, float]


class MetricsLog:
    """metrics.csv and TensorBoard, row by row; rows after the resumed step are dropped."""

    def __init__(self, run: Path, step: int):
        self.path = run / "metrics.csv"
        self.columns: list[str] = []
        kept = [row for row in self._rows() if row["step"].isdecimal() and int(row["step"]) <= step]
        if kept:
            self.columns = [name for name in kept[0] if name]
            self._rewrite(kept)
        else:
            self.path.unlink(missing_ok=True)
        self.events = SummaryWriter(str(run / "events"), purge_step=step + 1)

    def add(self, row: Row) -> None:
        new = [name for name in row if name not in self.columns]
        if new:  # the first row, or the first with a generator step in it
            kept = self._rows()
            self.columns += new
            self._rewrite(kept)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        for name, value in row.items():
            if name != "step":
                self.events.add_scalar(name, value, int(row["step"]))

    def complete(self, step: int, found: Row) -> None:
        """Add to the step's row what a look found after it was written."""
        rows = self._rows()
        self.columns += [name for name in found if name not in self.columns]
        self._rewrite([row | found if int(row["step"]) == step else row for row in rows])
        for name, value in found.items():
            self.events.add_scalar(name, value, step)

    def looked_at(self, step: int) -> bool:
        return any(int(row["step"]) == step and row.get(LOOKED) for row in self._rows())

    def history(self, step: int) -> dict[str, list[float]]:
        """Every column's values before that step."""
        rows = [row for row in self._rows() if int(row["step"]) < step]
        return {n: [float(row[n]) for row in rows if row.get(n)] for n in self.columns}

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, which has been told
            self.events.close()

    def _rows(self) -> list[dict]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", errors="replace") as file:
            return [row for row in csv.DictReader(file) if row.get("step")]

    def _rewrite(self, rows: list[dict]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, self.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, buffer.getvalue())


class Means:
    """Sums of the step's terms, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, terms: dict[str, torch.Tensor]) -> None:
        for name, term in terms.items():
            self.sums[name] = self.sums[name] + term if name in self.sums else term
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, ranks: Ranks) -> Row:
        """The means since the last call, over all ranks: the one place where training waits for the
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
    """A live bar with every loss on a terminal; elsewhere a line now and then."""

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


def environment() -> dict[str, str]:
    """What a run ran on, for environment.json."""
    packages = ("torch", "albumentations", "opencv-python-headless", "numpy", "pillow")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "img2img": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
        "gpu": gpu,
        "threads": str(torch.get_num_threads()),
        "command": " ".join(sys.argv),
    }


def model_card(config: RunConfig, step: int, total: int, data: str, row: Row) -> str:
    """README.md of a run."""
    losses = "\n".join(f"| {name} | {value:.4g} |" for name, value in row.items())
    name, run = shlex.quote(config.name), shlex.quote(f"runs/{config.name}")
    towards = METHODS[config.mode].translate_hint
    return f"""# {config.name}

A {config.mode} translator trained with img2img {__version__}: {step:,} of {total:,} steps,
seed {config.seed}, on {data}. Licence of the weights: {config.licence or "not stated"}.
All settings: [config.json](config.json). Held-out pictures as it saw them: [samples](samples).

    img2img export {run}
    img2img translate PHOTOS -o OUT -m {name}{towards}

| last row of metrics.csv | value |
|---|---|
{losses}
"""
