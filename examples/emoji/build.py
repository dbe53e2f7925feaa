"""Build the emoji data set: 1,570 things, each drawn in five styles, as PNG of any size.

    python examples/emoji/build.py OUT --size 128

gives OUT/{train,test}/{lineart,flat,3d,noto,twemoji}/CODEPOINTS.png, RGB on white. Needs
`pip install pillow resvg-py`, and npm to get the five packages (23 MB) the first time.
"""

import argparse
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterable
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

try:
    import resvg_py
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install pillow resvg-py")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import npm_archive, save_whole

SUPERSAMPLE = 4  # SVG is drawn this much larger, then averaged down: cleaner than resvg's own edges
TEST_BELOW = 26  # test is where the first byte of the name's SHA-1 is under this: about a tenth
COMMON, TEST = 1570, 148  # what the versions below give
SKIN_TONE = re.compile("1f3f[b-f]")

# Pinned by version and by content, so that everybody has the same pictures.
PACKAGES = {
    "lineart": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
}
SHA256 = {
    "lineart": "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    "flat": "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    "3d": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "noto": "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "twemoji": "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
}


def main() -> None:
    args = parse_args()
    packages = args.packages or args.out / ".packages"
    drawings = {style: read_drawings(get_archive(style, packages)) for style in PACKAGES}
    names = common_names(drawings)
    test = {name for name in names if is_test(name)}
    print(f"{len(names)} in all five styles: {len(names) - len(test)} train, {len(test)} test")
    if (len(names), len(test)) != (COMMON, TEST):
        sys.exit(f"Expected {COMMON} and {TEST} test; the join is broken.")
    for style in args.styles:
        for split in ("train", "test"):
            (args.out / split / style).mkdir(parents=True, exist_ok=True)
        files = {
            name: args.out / ("test" if name in test else "train") / style / f"{name}.png"
            for name in names
        }
        refuse_other_size(files.values(), args.size)
        jobs = [(drawings[style][name], file) for name, file in files.items() if not file.exists()]
        print(f"{style}: {len(jobs)} to draw, {len(names) - len(jobs)} there")
        draw_all(jobs, args.size, args.workers)


def parse_args() -> argparse.Namespace:
    def styles(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [style for style in chosen if style not in PACKAGES]:
            raise argparse.ArgumentTypeError(f"no style {unknown[0]!r}; there are {every}")
        return chosen

    def positive(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
        return int(text)

    every = ",".join(PACKAGES)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--size", type=positive, default=128, help="side in px (default 128)")
    parser.add_argument("--styles", type=styles, default=every, help=f"default: {every}")
    parser.add_argument("--packages", type=Path, help="npm archives (default: OUT/.packages)")
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1)
    return parser.parse_args()


def get_archive(style: str, folder: Path) -> Path:
    """The style's archive in `folder`, got with `npm pack` if it is not there yet."""
    package = PACKAGES[style]
    file_name = re.sub("[/@]", "-", package.removeprefix("@")) + ".tgz"  # as npm calls it
    return npm_archive(package, file_name, SHA256[style], folder)


def read_drawings(archive: Path) -> dict[str, bytes]:
    """Name -> SVG or WebP of every picture in an archive, which is only ever read in memory."""
    with tarfile.open(archive) as tar:
        files = {
            member.name.removeprefix("package/"): reader.read()
            for member in tar
            if (reader := tar.extractfile(member))
        }
    if "icons.json" in files:
        return iconify_drawings(json.loads(files["icons.json"]), json.loads(files["chars.json"]))
    drawings: dict[str, bytes] = {}
    for file in sorted(files):
        if file.endswith(".webp"):
            # 16 emoji are there twice; the first by name has the margins of the other 3D pictures.
            drawings.setdefault(normal_name(Path(file).stem), files[file])
    return drawings


def iconify_drawings(icons: dict[str, Any], chars: dict[str, str]) -> dict[str, bytes]:
    """Name -> SVG from Iconify's JSON, where `chars` says which icon is which code points'."""
    drawings = {}
    for codepoints, icon in chars.items():  # never an alias in these versions
        entry = icons["icons"][icon]
        width, height = icons["width"], entry.get("height", icons["height"])
        side = max(width, height)  # five are not square: those go into the middle
        box = f"{(width - side) / 2} {(height - side) / 2} {side} {side}"
        drawings[normal_name(codepoints)] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' viewBox="{box}" color="#000">'
            f"{entry['body']}</svg>"
        ).encode()
    return drawings


def normal_name(codepoints: str) -> str:
    """`00A9-FE0F` -> `a9`: lower case, no leading zeros, no variation selector."""
    parts = codepoints.lower().split("-")
    return "-".join(part.lstrip("0") for part in parts if part != "fe0f")


def common_names(drawings: dict[str, dict[str, bytes]]) -> list[str]:
    """What every style has, skin tones left out."""
    common = set.intersection(*map(set, drawings.values()))
    return sorted(name for name in common if not SKIN_TONE.search(name))


def is_test(name: str) -> bool:
    return hashlib.sha1(name.encode()).digest()[0] < TEST_BELOW


def refuse_other_size(files: Iterable[Path], size: int) -> None:
    """Stop where an earlier run left pictures of another size: they would be kept."""
    for file in files:
        if file.exists():
            with Image.open(file) as picture:
                if picture.size != (size, size):
                    sys.exit(f"{file} is {picture.width} px, not {size}: choose another folder.")


def draw_all(jobs: list[tuple[bytes, Path]], size: int, workers: int) -> None:
    with Pool(workers) as pool:
        done = pool.imap_unordered(partial(draw, size=size), jobs, chunksize=16)
        for count, _ in enumerate(done, start=1):
            if count % 500 == 0 or count == len(jobs):
                print(f"  {count}/{len(jobs)}", flush=True)


def draw(job: tuple[bytes, Path], size: int) -> None:
    """Draw one picture and put it in place, whole or not at all."""
    source, file = job
    save_whole(
        draw_svg(source, size) if source.startswith(b"<svg") else draw_webp(source, size), file
    )


def draw_svg(source: bytes, size: int) -> Image.Image:
    side = size * SUPERSAMPLE
    png = resvg_py.svg_to_bytes(
        svg_string=source.decode(),
        width=side,
        height=side,
        background="white",
        skip_system_fonts=True,
    )
    return Image.open(io.BytesIO(png)).convert("RGB").reduce(SUPERSAMPLE)


def draw_webp(source: bytes, size: int) -> Image.Image:
    picture = Image.open(io.BytesIO(source)).convert("RGBA")
    side = max(picture.size)  # one of them is not square
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
