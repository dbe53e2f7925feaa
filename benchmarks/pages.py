"""How long reading the pages of a volume takes: single ones, as training does, and all of them in
their order, as translation and checks do.

    python benchmarks/pages.py [--write]    # results, and the table of docs/science.md
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import machine
import nibabel
import numpy as np
import page
import tifffile

from img2img.files import spread
from img2img.rasters import pages

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "pages.json"
PAGE = ROOT / "docs" / "science.md"
SINGLE = 10  # pages that are read by themselves, evenly spread


def save_files(folder: Path) -> dict[str, Path]:
    """Noise of 12 bits, by what it is."""
    random = np.random.default_rng(0)
    volume, stack = folder / "volume.nii.gz", folder / "stack.tif"
    values = random.normal(1000, 20, (200, 512, 512)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), volume)
    values = random.integers(0, 4096, (2000, 64, 64)).astype(np.uint16)
    tifffile.imwrite(stack, values, photometric="minisblack", compression="zlib")
    return {
        "`.nii.gz` of 200 slices of 512 x 512 px": volume,
        "TIFF of 2,000 pages of 64 x 64 px": stack,
    }


def measured(path: Path) -> dict[str, float]:
    """Milliseconds of a page that is read by itself, and of one among all of them."""
    with pages.opened(path) as pictures:
        count = pictures.header.pages
    names = pages.names(path, count)
    began = time.monotonic()
    for number in spread(SINGLE, count):
        pages.read(names[number])
    single = (time.monotonic() - began) / SINGLE
    began = time.monotonic()
    with pages.opened(path) as pictures:
        for number in range(count):
            pictures.read(number)
    return {"single_ms": 1000 * single, "in_order_ms": 1000 * (time.monotonic() - began) / count}


def table(results: dict[str, dict[str, float]]) -> str:
    lines = ["| file | a page by itself | one of all pages, in their order |", "|---|---|---|"]
    for name, took in results.items():
        lines.append(f"| {name} | {took['single_ms']:.0f} ms | {took['in_order_ms']:.1f} ms |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="the results and the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = {kind: measured(path) for kind, path in save_files(Path(name)).items()}
    print(table(results))
    if options.write:
        told = {**machine.measured(1), "files": results}
        RESULTS.write_text(json.dumps(told, indent=2) + "\n")
        told_by = f"{told['machine']}; {told['date']}; `benchmarks/pages.py`."
        page.fill(PAGE, "pages", f"{table(results)}\n\n{told_by}")


if __name__ == "__main__":
    main()
