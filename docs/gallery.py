"""Write docs/gallery.md: what each model of weights/ makes of pictures that were held out.

    python docs/gallery.py DATA ...     # the folders of examples/{emoji,earth,photos}/build.py

They hold test/STYLE at the size that the models were trained at. Where two have the same style, the
first of the larger pictures is translated, too; an emoji is drawn that large here (`pip install
resvg-py`). What sources.csv forbids to pass on is left out. Needs no torch.
"""

import argparse
import csv
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from img2img import Translator, images
from img2img.evaluate.metrics import l1
from img2img.manifest import Manifest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gallery.md"
SHEETS = ROOT / "docs" / "images" / "gallery"
FIRST, WORST = 8, 4  # pictures of a sheet
WIDTH = 1060  # px of a sheet at most: a page shows it as it is
GAP = 4  # px between pictures
LARGE = 512  # px, the side of an emoji as a large picture
BYTES = 4_000_000  # of all sheets together; the best quality that fits is taken


class Row(NamedTuple):
    """A model, the folder of examples/ that builds its data, and its folders below test/."""

    name: str
    what: str
    data: str
    inputs: str
    truths: str | None = None  # None: there are none, or each of the model's domains is a folder


MODELS = [
    Row("flat-to-3d", "Flat emoji become shaded 3D ones.", "emoji", "flat", "3d"),
    Row("strokes-to-3d", "Line drawings become 3D emoji.", "emoji", "strokes", "strokes-3d"),
    Row("dark-to-light", "Dark, noisy photographs become bright.", "photos", "dark", "clean"),
    Row("flat-noto-ab", "Flat Fluent emoji become Noto emoji.", "emoji", "flat", "noto"),
    Row("flat-noto-ba", "Noto emoji become flat Fluent emoji.", "emoji", "noto", "flat"),
    Row("three-styles", "Emoji of three styles become any of the three.", "emoji", "flat"),
    Row("relief-to-satellite", "Relief becomes satellite.", "earth", "relief", "satellite"),
    Row("map-to-satellite", "A drawn map becomes satellite.", "earth", "map", "satellite"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA")
    data: list[Path] = parser.parse_args().data
    shipped = {path.stem for path in (ROOT / "weights").glob("*.onnx")}
    if unknown := sorted(shipped - {row.name for row in MODELS}):
        sys.exit(f"MODELS of docs/gallery.py has no row for {', '.join(unknown)}.")
    rows = [row for row in MODELS if row.name in shipped]
    for style in {style for row in rows for style in (row.inputs, row.truths) if style}:
        folders(style, data)  # what is missing is named before the first model runs
    sheets: dict[str, np.ndarray] = {}
    sections = [section(row, data, sheets) for row in rows]
    quality = write(sheets)
    introduction = f"""# Gallery

What the models of [weights/](../weights/README.md) make of pictures that were held out from their
training: the first {FIRST} by name, none picked, and the {WORST} of all that are farthest from the
truth by L1 (mean absolute difference, colors in [-1, 1]; of domains, the mean), which says little
where Noto draws an emoji anew. `docs/gallery.py` writes this page. WebP of quality {quality}.
"""
    PAGE.write_text("\n".join([introduction, *sections]))


def section(row: Row, data: list[Path], sheets: dict[str, np.ndarray]) -> str:
    """The model's part of the page. Its pictures are added to `sheets`."""
    print(row.name, flush=True)
    translate = Translator(ROOT / "weights" / f"{row.name}.onnx", "cpu")
    domains = translate.manifest.labels.names
    files = pictures(folders(row.inputs, data)[0])
    text = head(row, translate.path, translate.manifest, len(files))
    if not files:
        return text + f"\nNo held-out picture of examples/{row.data} may be passed on.\n"
    inputs = [images.read(file).pixels for file in files]
    lines = {f"input ({row.inputs})": inputs}  # of the sheets, from the top
    errors = []  # L1 of the pictures, for each target that has truths
    for to in domains or (None,):
        outputs = lines[f"output ({to})" if to else "output"] = translate(inputs, to)
        if (style := to or row.truths) and style != row.inputs:
            folder = folders(style, data)[0]
            truths = [images.read(folder / file.name).pixels for file in files]
            lines[f"truth ({style})"] = truths
            errors.append([l1(*pair) for pair in zip(outputs, truths, strict=True)])
    text += f"\n### {row.name}: the first {FIRST}\n\nFrom the top: {', '.join(lines)}.\n\n"
    text += shown(row.name, sheet([line[:FIRST] for line in lines.values()]), sheets)
    if errors:
        means = np.mean(errors, axis=0)
        worst = np.argsort(-means, kind="stable")[:WORST]
        named = ", ".join(f"{files[i].stem} ({means[i]:.3f})" for i in worst)
        text += f"\n### {row.name}: the {WORST} farthest from the truth\n\n"
        text += f"L1 of {named}; on average of all {len(files)}, {means.mean():.3f}.\n\n"
        chosen = [[line[i] for i in worst] for line in lines.values()]
        text += shown(f"{row.name}-worst", sheet(chosen), sheets)
    large = large_picture(row, data, files[0])
    if large is not None:
        others = [to for to in domains if to != row.inputs] or [None]
        text += f"\n### {row.name}: the first at {large.shape[1]} x {large.shape[0]} px\n"
        text += f"\nInput, {', '.join(to or 'output' for to in others)}.\n\n"
        cells = [large, *(translate(large, to) for to in others)]
        text += shown(f"{row.name}-large", sheet([cells], across=2), sheets)
    return text


def head(row: Row, path: Path, manifest: Manifest, held_out: int) -> str:
    to = " --to all" if manifest.labels.names else ""
    return f"""## {row.name}

{row.what}

| | |
|---|---|
| method | {manifest.method}, {manifest.step:,} steps at {manifest.trained_size} px |
| data | [{row.data}](../examples/{row.data}): {row.inputs}; {held_out} held out |
| license | {manifest.licence} |
| file | `weights/{path.name}`, {path.stat().st_size / 1e6:.1f} MB |
| command | `img2img translate data/{row.data}/test/{row.inputs} -o out -m {row.name}{to}` |
"""


def folders(style: str, data: list[Path]) -> list[Path]:
    """The folders test/STYLE, the one with the smallest pictures first."""
    there = [folder / "test" / style for folder in data if any(folder.glob(f"test/{style}/*.png"))]
    if not there:
        sys.exit(f"There is no test/{style} with pictures in {', '.join(map(str, data))}.")
    return sorted(there, key=lambda at: images.read(next(at.glob("*.png"))).pixels.shape[1])


def pictures(folder: Path) -> list[Path]:
    """By name, without those that the data's sources.csv forbids to pass on."""
    sources = folder.parents[1] / "sources.csv"
    lines = csv.DictReader(sources.read_text().splitlines() if sources.exists() else [])
    forbidden = {line["name"] for line in lines if line["may_ship"] != "yes"}
    # A crop is called NUMBER-NAME, where sources.csv has NAME.
    files = sorted(folder.glob("*.png"))
    return [file for file in files if file.stem.partition("-")[2] not in forbidden]


def large_picture(row: Row, data: list[Path], first: Path) -> np.ndarray | None:
    """The first held-out picture as large as there is, uint8 [H, W, 3]; None if it is nowhere."""
    if row.data != "emoji":
        *smaller, largest = folders(row.inputs, data)
        return images.read(pictures(largest)[0]).pixels if smaller else None
    sys.path.insert(0, str(ROOT / "examples" / "emoji"))
    import build

    # Of strokes, the first drawing of an emoji is its line art.
    style, name = row.inputs.replace("strokes", "lineart"), first.stem.removesuffix("-0")
    drawings = build.read_drawings(build.get_archive(style, first.parents[2] / ".packages"))
    return np.asarray(build.draw_svg(drawings[name], LARGE))


def sheet(lines: list[list[np.ndarray]], across: int = 0) -> np.ndarray:
    """Lines of pictures of one size, uint8 [H, W, 3], one below the other, `across` side by side
    (0: as many as WIDTH has room for), and the others below them, again line by line.
    """
    across = min(across or WIDTH // (lines[0][0].shape[1] + GAP), len(lines[0]))
    gaps, blank, bands = ((0, GAP), (0, GAP), (0, 0)), np.full_like(lines[0][0], 255), []
    for start in range(0, len(lines[0]), across):
        for line in lines:
            cells = [*line[start : start + across], *[blank] * across][:across]
            bands.append(np.hstack([np.pad(cell, gaps, constant_values=255) for cell in cells]))
    return np.vstack(bands)[:-GAP, :-GAP]


def shown(name: str, pixels: np.ndarray, sheets: dict[str, np.ndarray]) -> str:
    """Add a sheet. Returns the Markdown that shows it."""
    sheets[name] = pixels
    return f"![{name}](images/gallery/{name}.webp)\n"


def write(sheets: dict[str, np.ndarray]) -> int:
    """Replace the page's pictures by the sheets. Returns the quality of WebP that they have."""
    for quality in range(95, 45, -5):
        files = {n: images.encode(images.Picture(s), ".webp", quality) for n, s in sheets.items()}
        if sum(map(len, files.values())) <= BYTES:
            shutil.rmtree(SHEETS, ignore_errors=True)
            SHEETS.mkdir()
            for name, content in files.items():
                (SHEETS / f"{name}.webp").write_bytes(content)
            return quality
    sys.exit(f"The sheets need more than {BYTES:,} bytes: show fewer pictures.")


if __name__ == "__main__":
    main()
