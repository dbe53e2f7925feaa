"""The folder pipeline's own limit: JPEG to PNG files, with a model that only waits as a GPU does.

    python benchmarks/pipeline.py [--size 256] [--files 1000] [--rate 3000] [--threads]

Prints pictures a second, and the CPU time of a picture in the main process and in all processes,
which limit what a machine with more cores reaches: 1 / main and cores / all.
"""

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from img2img import Translator, images
from img2img.files import find_pictures, usable_cores
from img2img.infer import workers
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.registry import shipped


class Waiting:
    """A session that inverts pictures after the time that a GPU would take, one call at a time."""

    def __init__(self, rate: float):
        self.rate, self.lock = rate, threading.Lock()

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        image = feed["image"]
        with self.lock:
            time.sleep(len(image) / self.rate)
        return [255 - image]


def cpu_seconds() -> tuple[float, float]:
    """Of this process, and of its children that have ended."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (usage.ru_utime + usage.ru_stime for usage in each)
    return own, children


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=3000, help="of the model, pictures a second")
    parser.add_argument("--threads", action="store_true", help="threads even for many pictures")
    parser.add_argument("--processes", action="store_true", help="processes even on few cores")
    given = parser.parse_args()
    if given.threads or given.processes:
        workers.FROM_CORES = 10**6 if given.threads else 1
    translator = Translator("flat-to-3d", "cpu", threads=1)
    translator._session, translator.provider = Waiting(given.rate), "cuda"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        sample = list(find_pictures(shipped("quickstart") / "test" / "3d"))
        for number in range(given.files):
            pixels = images.read(sample[number % len(sample)]).pixels
            picture = Image.fromarray(images.resize(pixels, given.size, given.size))
            picture.save(folder / "in" / f"{number}.jpg", quality=95)
        jobs = make_plan([str(folder / "in")], folder / "out", "png", "1/1")
        before = cpu_seconds()
        summary = translate_files(translator, jobs, Record(folder / "out"), Settings())
        main_cpu, children = (b - a for a, b in zip(before, cpu_seconds(), strict=True))
    assert summary.done == given.files, summary.failed[:3]
    kind = "processes" if children else "threads"
    print(
        f"{summary.done / summary.seconds:.0f} pictures a second with {kind} on {usable_cores()} "
        f"cores; CPU time of a picture: main process {1000 * main_cpu / given.files:.2f} ms, "
        f"all {1000 * (main_cpu + children) / given.files:.2f} ms"
    )


if __name__ == "__main__":
    main()
