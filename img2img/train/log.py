"""What a run leaves to read: metrics.csv, TensorBoard events, a progress bar, a model card."""

import csv
import io
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from img2img import __version__
from img2img.files import write_whole
from img2img.train.config import RunConfig

Row = dict[str, float]


class MetricsLog:
    """metrics.csv and TensorBoard, row by row; rows after the resumed step are dropped."""

    def __init__(self, run: Path, step: int):
        self.path = run / "metrics.csv"
        self.columns: list[str] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                reader = csv.DictReader(file)
                kept = [row for row in reader if int(row["step"]) <= step]
                self.columns = list(reader.fieldnames or [])
            self._rewrite(kept)
        self.events = SummaryWriter(str(run / "events"), purge_step=step + 1)

    def add(self, row: Row) -> None:
        if not self.columns:
            self.columns = list(row)
            self._rewrite([])
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        for name, value in row.items():
            if name != "step":
                self.events.add_scalar(name, value, int(row["step"]))

    def add_grid(self, step: int, sheet) -> None:
        self.events.add_image("samples", sheet, step, dataformats="HWC")

    def close(self) -> None:
        self.events.close()

    def _rewrite(self, rows: list[dict]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, self.columns)
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

    def take(self) -> Row:
        """The means since the last call: the one place where training waits for the device."""
        if not self.sums:
            return {}
        values = torch.stack([value.float() for value in self.sums.values()]).tolist()
        means = {n: v / self.counts[n] for n, v in zip(self.sums, values, strict=True)}
        self.sums, self.counts = {}, {}
        return means


class Display:
    """A live bar with every loss on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, total: int, done: int):
        self.console, self.total = console, total
        self.row: Row = {}
        self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,}/{task.total:,} steps  {task.fields[speed]}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self.task = self.bar.add_task("", total=total, completed=done, speed="")
        self.live = Live(self.bar, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def advance(self) -> None:
        self.bar.advance(self.task)

    def show(self, row: Row) -> None:
        self.row = row
        self.bar.update(self.task, speed=f"{row['images_per_second']:.1f} images/s")
        if self.console.is_terminal:
            table = Table.grid()
            table.add_row(self.bar)
            table.add_row(_losses(row))
            self.live.update(table)
        elif time.monotonic() - self.last_line > 10 or row["step"] == self.total:
            self.last_line = time.monotonic()
            left = (self.total - row["step"]) * row["seconds"] / max(row["step"], 1)
            self.console.print(
                f"step {row['step']:.0f}/{self.total}  {row['images_per_second']:.1f} images/s  "
                f"{left / 60:.1f} min left  {_losses(row)}",
                highlight=False,
                soft_wrap=True,
            )


def environment() -> dict[str, str]:
    """What a run ran on, for environment.json."""
    packages = ("torch", "albumentations", "opencv-python-headless", "numpy", "pillow")
    found = {"img2img": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return found | {
        "platform": platform.platform(),
        "gpu": gpu,
        "threads": str(torch.get_num_threads()),
        "command": " ".join(sys.argv),
    }


def model_card(config: RunConfig, step: int, total: int, data: str, row: Row) -> str:
    """README.md of a run."""
    settings = "\n".join(
        f"| {name} | {value} |" for name, value in config.method.model_dump().items()
    )
    losses = "\n".join(f"| {name} | {value:.4g} |" for name, value in row.items())
    return f"""# {config.name}

A {config.mode} translator trained with img2img {__version__}: {step:,} of {total:,} steps,
seed {config.seed}, on {data}. Licence of the weights: {config.licence or "not stated"}.

![held-out samples](samples/step-{step:07d}.png)

## Use it

    img2img export runs/{config.name}
    img2img translate PHOTOS -o OUT -m {config.name}

## Last row of metrics.csv

| quantity | value |
|---|---|
{losses}

## Settings

| setting | value |
|---|---|
{settings}
"""


def _losses(row: Row) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in row.items() if "/" in name)
