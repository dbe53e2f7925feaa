"""The loader of training pictures against torch's plain way, in turn in one run.

    python benchmarks/loader.py [--batches 1 8] [--workers 0 1 2] [--device cuda] [--json]
    python benchmarks/loader.py --write    # results and the table of docs/performance.md

Two sets of JPEG photographs of 256 px, as the papers' data sets are, resized to 286 px, cropped to
256 px and flipped. The textbook's way is written out below: a data set that decodes each picture
when it is asked for, and a DataLoader that sends each batch in a message of its own. No network
trains; batches are only copied out of the memory that the workers share. Measured is processor
time, to which other work on the machine adds little: that of the training process, which should be
training, and that of the workers. The slower of the two limits the steps a second.
"""

import argparse
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import albumentations as A
import cv2
import machine
import numpy as np
import page
import psutil
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.data.sources import Sources
from img2img.data.stream import Stream, messages, split
from img2img.data.unpaired import Unpaired

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PHOTO = ROOT / "tests" / "data" / "photos" / "coffee.jpg"
SIZE, LOAD_SIZE = 256, 286
PICTURES = 100  # of each set
WAYS = ("textbook", "decoding", "cached")
Batches = Iterator[dict[str, Tensor]]


class Textbook(Dataset[dict[str, Tensor]]):
    """Two folders, of which the second is drawn from at random."""

    def __init__(self, a: Path, b: Path):
        self.a, self.b = sorted(a.iterdir()), sorted(b.iterdir())
        self.transform = A.Compose(
            [
                A.Resize(LOAD_SIZE, LOAD_SIZE, interpolation=cv2.INTER_CUBIC),
                A.RandomCrop(SIZE, SIZE),
                A.HorizontalFlip(p=0.5),
            ]
        )

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        paths = {"a": self.a[index % len(self.a)], "b": random.choice(self.b)}
        return {name: self.read(path) for name, path in paths.items()}

    def read(self, path: Path) -> Tensor:
        pixels = np.array(Image.open(path).convert("RGB"))
        return torch.from_numpy(self.transform(image=pixels)["image"])


def textbook(folder: Path, batch: int, workers: int, device: str) -> Batches:
    loader = DataLoader(
        Textbook(folder / "a", folder / "b"),
        batch_size=batch,
        sampler=itertools.count(),  # an order without an end
        num_workers=workers,
        pin_memory=device != "cpu",
    )
    for message in loader:
        yield received(message, device)


def ours(
    folder: Path, batch: int, workers: int, device: str, cache: Cache | None = None
) -> Batches:
    stream = Stream(sets(folder), Augment(SIZE, LOAD_SIZE, None, True, True, cache), 0, batch)
    for message in messages(stream, 0, 10**9, workers, device != "cpu"):
        yield from split(received(message, device), batch)


def received(message: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    return {name: t.to(device, non_blocking=True, copy=True) for name, t in message.items()}


def sets(folder: Path) -> Unpaired:
    return Unpaired.open(Sources(a=folder / "a", b=folder / "b"), (3, 3))


def write_photos(folder: Path) -> None:
    """Parts of a photograph, JPEG files of 256 px."""
    photo, draws = Image.open(PHOTO), random.Random(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(PICTURES):
            side = draws.randint(100, min(photo.size))
            left, top = (draws.randint(0, length - side) for length in photo.size)
            part = photo.resize((SIZE, SIZE), box=(left, top, left + side, top + side))
            part.save(folder / name / f"{number}.jpg", quality=90)


def filled_cache(folder: Path) -> Cache:
    data = sets(folder)
    records, channels = data.records
    cache = Cache(folder / "cache", records, LOAD_SIZE * LOAD_SIZE * channels)
    stream = Stream(data, Augment(SIZE, LOAD_SIZE, None, True, True, cache), 0, 1)
    for position in itertools.count():  # b is drawn at random
        stream[position]
        if cache.rows[:, 0].all():
            return cache
    raise AssertionError


def processor_seconds(workers: list[psutil.Process]) -> tuple[float, float]:
    """So far: of this process, and of the workers."""
    times = [worker.cpu_times() for worker in workers]
    return time.process_time(), sum(t.user + t.system for t in times)


def measure(
    loaders: dict[str, Batches], prepared: int, rounds: int, seconds: float
) -> dict[str, dict]:
    """Steps, and seconds in all and on the processor, of each loader. They take turns.

    prepared: steps that are left out at the start of a turn, since the workers made them before.
    """
    found: dict[str, dict] = {}
    workers: dict[str, list[psutil.Process]] = {}
    others: set[psutil.Process] = set()
    for name, batches in loaders.items():
        next(batches)
        children = set(psutil.Process().children())
        workers[name], others = list(children - others), children
        found[name] = {"steps": 0, "seconds": 0.0, "training": 0.0, "workers": 0.0}
    for _ in range(rounds):
        for name, batches in loaders.items():
            for _ in range(prepared):
                next(batches)
            began, before = time.perf_counter(), processor_seconds(workers[name])
            while time.perf_counter() - began < seconds:
                next(batches)
                found[name]["steps"] += 1
            found[name]["seconds"] += time.perf_counter() - began
            after = processor_seconds(workers[name])
            for part, start, end in zip(("training", "workers"), before, after, strict=True):
                found[name][part] += end - start
    return found


def rate(row: dict, workers: int) -> float:
    """Steps a second, if this process and each of the workers has a core of its own."""
    return row["steps"] / max(row["training"], row["workers"] / max(workers, 1))


def table(result: dict) -> str:
    head = "| batch | workers | textbook | img2img, decoding | img2img, cached | times faster |"
    lines = [head, "|---" * 6 + "|"]
    for row in result["rows"]:
        rates = [rate(row[way], row["workers"]) for way in WAYS]
        spent = [1000 * row[way]["training"] / row[way]["steps"] for way in WAYS]
        cells = " | ".join(
            f"{steps:,.0f}/s, {milliseconds:.2f} ms"
            for steps, milliseconds in zip(rates, spent, strict=True)
        )
        lines.append(f"| {row['batch']} | {row['workers']} | {cells} | {rates[2] / rates[0]:.1f} |")
    source = f"{result['machine']}; torch {result['torch']}; {result['date']}"
    return "\n".join([*lines, "", f"{source}; `benchmarks/loader.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder)
        cache = filled_cache(folder)
        for batch, workers in itertools.product(given.batches, given.workers):
            case = (folder, batch, workers, given.device)
            loaders = dict(
                zip(WAYS, (textbook(*case), ours(*case), ours(*case, cache)), strict=True)
            )
            measured = measure(loaders, max(10, 40 // batch), given.rounds, given.seconds)
            rows.append({"batch": batch, "workers": workers, **measured})
            if not given.json:
                print(rows[-1], flush=True)
        cache.close()
    described = machine.measured(1)
    if given.device != "cpu":
        described["machine"] = f"{torch.cuda.get_device_name()}; {described['machine']}"
    result = {**described, "torch": torch.__version__, "rows": rows}
    if given.write:
        name = f"loader-{given.device.partition(':')[0]}"
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, name, table(result))
    print(json.dumps(result, indent=2) if given.json else table(result))


if __name__ == "__main__":
    main()
