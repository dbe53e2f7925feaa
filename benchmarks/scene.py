"""The memory and the time of translating a scene that is read and written in parts.

    python benchmarks/scene.py FOLDER [--side 40000] [--norm-tiles 64] [--strips ROWS] [--write]

FOLDER gets the scene, a GeoTIFF of one band of uint16 with a fifth of its pixels missing, in tiles
or, with --strips, in strips of so many rows, and the output: 15 GB for a side of 40,000 px. The
model is an untrained CycleGAN's ResNet of width 8 with 2 blocks: how much memory it takes does not
depend on its weights.
"""

import argparse
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import machine
import numpy as np
import page
import tifffile
import torch

from img2img.export import graph
from img2img.intensity import Intensity
from img2img.methods.base import ExportSpec
from img2img.nets.init import init_normal
from img2img.nets.resnet import ResNet
from img2img.sizes import Size
from img2img.training.config import RunConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scene-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
TILE = 512
NODATA = 65535
PIXEL_SIZE, PLACE = (33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (0.0, 0, 0, 5e5, 5e6, 0))


def save_scene(path: Path, side: int, strips: int) -> None:
    """Hills and grain, with nothing left of a fifth of the width. strips: their rows; 0 for
    tiles.
    """
    random = np.random.default_rng(0)
    height, width = (strips, side) if strips else (TILE, TILE)

    def segments() -> Iterator[bytes]:
        """Strips or tiles, of which the last strip is shorter, but a tile is not."""
        for top in range(0, side, height):
            rows = min(height, side - top) if strips else height
            for left in range(0, side, width):
                y, x = np.ogrid[top : top + rows, left : left + width]
                hills = 4000 + 2000 * np.sin(x / 700) * np.cos(y / 900) + 500 * np.sin((x + y) / 40)
                values = hills + random.integers(0, 200, (rows, width))
                values = np.where(x < side // 5, NODATA, values).astype("<u2")
                yield zlib.compress(values.tobytes(), 1)

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        tags = [(*tag, False) for tag in (PIXEL_SIZE, PLACE)]
        tags.append((42113, "s", 0, str(NODATA), False))
        form = {"rowsperstrip": strips} if strips else {"tile": (TILE, TILE)}
        kinds = {"compression": "zlib", "metadata": None, "extratags": tags, **form}
        file.write(segments(), shape=(side, side), dtype=np.dtype("<u2"), **kinds)


def save_model(path: Path) -> None:
    torch.manual_seed(0)
    network = ResNet(1, 1, 8, 2, "instance")
    init_normal(network, std=0.05)
    values = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(10_000,), nodata=NODATA)
    spec = ExportSpec(network, 1, 1, intensity_in=values, intensity_out=values)
    settings = {"size": 64, "in_channels": 1, "out_channels": 1}
    config = RunConfig(mode="cyclegan", name="scene", method=settings, sources={})
    manifest = graph.make_manifest(config, "ab", spec, {}, {}, "fp32")
    graph.write(graph.trace(spec, Size(64, 64)), manifest, path)


def peak(process: subprocess.Popen) -> float:
    """The largest resident memory of a process until its end, GiB, with all that it maps."""
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max([most, *(int(x.split()[1]) for x in status.splitlines() if x[:5] == "VmHWM")])
        time.sleep(0.2)
    return most / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--norm-tiles", type=int, default=64)
    parser.add_argument("--strips", metavar="ROWS", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    layout = f"-strips-{given.strips}" if given.strips else ""
    scene, model = given.folder / f"scene-{given.side}{layout}.tif", given.folder / "scene.onnx"
    if not scene.exists():
        save_scene(scene, given.side, given.strips)
    save_model(model)
    line = [sys.executable, "-m", "img2img", "translate", str(scene), "-m", str(model)]
    line += ["-o", str(given.folder / "out"), "--provider", "cpu", "--existing", "replace"]
    began = time.monotonic()
    process = subprocess.Popen([*line, "--norm-tiles", str(given.norm_tiles), "--max-pixels", "1"])
    most = peak(process)
    if process.returncode:
        sys.exit("translate failed")
    result = {
        **machine.measured(torch.get_num_threads()),
        "side": given.side,
        "norm_tiles": given.norm_tiles,
        "strips": given.strips,
        "peak_gib": round(most, 2),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "input_gib": round(scene.stat().st_size / 2**30, 2),
        "output_gib": round((given.folder / "out" / scene.name).stat().st_size / 2**30, 2),
    }
    print(json.dumps(result, indent=2))
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "scene", text(result))


def text(result: dict) -> str:
    side, stored, most = f"{result['side']:,}", result["input_gib"], result["peak_gib"]
    return (
        f"A GeoTIFF of {side} x {side} px of uint16 ({stored} GiB) by a ResNet of width 8 with 2 "
        f"blocks, with `--norm-tiles {result['norm_tiles']}`: a peak of {most} GiB of memory, and "
        f"{result['minutes']} minutes. {result['machine']}; {result['date']}; "
        "`benchmarks/scene.py`."
    )


if __name__ == "__main__":
    main()
