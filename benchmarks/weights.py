"""What the models of weights/ make of held-out pictures, for their cards.

    python benchmarks/weights.py DATA ...           # of examples/{emoji (128 px),earth,photos}
    python benchmarks/weights.py DATA ... --write   # results, table of weights/README.md, picture

Distances on the features of EfficientNet-Lite2, which took no part in training, and L1 are those of
`img2img evaluate`; in brackets stands what the input as it is would get.
"""

import argparse
import json
from pathlib import Path

import machine
import numpy as np
import page
from command import command

from img2img import Translator, images
from img2img.files import pictures, usable_cores

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "weights" / "README.md"
SHEET = ROOT / "docs" / "images" / "weights.png"
RESULTS = ROOT / "benchmarks" / "results" / "weights.json"
TRANSLATIONS = [  # bundle, styles of its inputs and of the truths, domain where it has some
    ("flat-to-3d", "flat", "3d", None),
    ("strokes-to-3d", "strokes", "strokes-3d", None),
    ("dark-to-light", "dark", "clean", None),
    ("map-to-satellite", "map", "satellite", None),
    ("relief-to-satellite", "relief", "satellite", None),
    ("flat-noto-ab", "flat", "noto", None),
    ("flat-noto-ba", "noto", "flat", None),
    ("three-styles", "flat", "3d", "3d"),
    ("three-styles", "3d", "noto", "noto"),
    ("three-styles", "noto", "flat", "flat"),
]
SHOWN = ("strokes-to-3d", "dark-to-light", "flat-to-3d", "map-to-satellite")  # in the picture
ROWS, SIDE = 4, 128  # of the picture: rows, px of a cell
FIGURES = {
    "lite2_kernel": "kernel distance",
    "l1": "L1 to the truth",
    "lite2_perceptual": "feature distance to the truth",
}


def figures(arguments: list[str]) -> dict[str, float]:
    wanted = [
        "--metrics",
        ",".join(FIGURES),
        "--extractor",
        "efficientnet-lite2",
        "--bootstrap",
        "0",
    ]
    told = command("evaluate", *arguments, *wanted, "--json")
    found = {metric["name"]: metric["value"] for metric in json.loads(told)["metrics"]}
    return {name: found[name] for name in FIGURES}


def folder(style: str, data: list[Path]) -> Path:
    """The style's held-out pictures, in the first data set that has some."""
    for each in data:
        if (there := each / "test" / style).is_dir():
            return there
    raise SystemExit(f"No folder of {', '.join(map(str, data))} has test/{style}.")


def sheet() -> images.Picture:
    """Models on their own examples: what goes in, and beside it what comes out."""
    columns: dict[str, list[np.ndarray]] = {}
    for bundle in SHOWN:
        translator = Translator(ROOT / "weights" / f"{bundle}.onnx")
        files = pictures(ROOT / "weights" / "examples" / bundle)[:ROWS]
        given = [images.read(file).pixels for file in files]
        columns[bundle], columns[f"{bundle}, out"] = given, translator(given)
    columns = {
        name: [images.resize(cell, SIDE, SIDE) for cell in column]
        for name, column in columns.items()
    }
    return images.Picture(images.contact_sheet(columns))


def table(result: dict) -> str:
    titles = [f"{title} (of the input)" for title in FIGURES.values()]
    lines = [f"| | | pictures | {' | '.join(titles)} |", "|---|---|---|" + "---|" * len(titles)]
    for row in result["translations"]:
        cells = (f"{row['model'][n]:.3f} ({row['copy'][n]:.3f})" for n in FIGURES)
        way = f"{row['inputs']} → {row['truths']}"
        lines.append(f"| {row['bundle']} | {way} | {row['pictures']} | {' | '.join(cells)} |")
    source = f"{result['machine']}; {result['date']}"
    return "\n".join([*lines, "", f"{source}; `benchmarks/weights.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    for bundle, inputs, truths, to in TRANSLATIONS:
        a, b = str(folder(inputs, given.data)), str(folder(truths, given.data))
        model = ["-m", str(ROOT / "weights" / f"{bundle}.onnx"), *(["--to", to] if to else [])]
        rows.append(
            {
                "bundle": bundle,
                "inputs": inputs,
                "truths": truths,
                "model": figures([*model, "--a", a, "--b", b]),
                "copy": figures(["--fake", a, "--real", b]),
                "pictures": len(pictures(Path(a))),
            }
        )
    result = {**machine.measured(usable_cores()), "translations": rows}
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "figures", table(result))
        SHEET.write_bytes(images.encode(sheet(), ".png"))
    print(table(result))


if __name__ == "__main__":
    main()
