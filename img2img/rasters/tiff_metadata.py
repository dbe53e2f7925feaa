"""The metadata of a TIFF that is written again, and what its tags say about bands and values."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal
from xml.sax.saxutils import escape, unescape

import numpy as np

from img2img.rasters.layout import Layout
from img2img.rasters.raster import Carried, elements, parsed_xml
from img2img.rasters.tiff_page import JPEG, PALETTE, RGB, WHITE_IS_ZERO, YCBCR, largest

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAX_TAG = 2**24  # bytes, of a tag that is carried
NODATA, GDAL_METADATA = 42113, 42112
TIE_POINTS, TRANSFORMATION = 33922, 34264
ASCII, DOUBLE = 2, 12  # types of tags
GEOREFERENCE = (33550, TIE_POINTS, TRANSFORMATION, 34735, 34736, 34737, 33920)
DESCRIPTION, IMAGEJ_SIZES, IMAGEJ_METADATA = 270, 50838, 50839
ORIENTATION, ICC_PROFILE = 274, 34675
DESCRIPTIVE_TAGS = (
    *(269, DESCRIPTION, 271, 272, ORIENTATION, 285, 305, 306, 315, 316, 700, 33432, ICC_PROFILE),
    *(IMAGEJ_SIZES, IMAGEJ_METADATA),
)
COLORS = ("red", "green", "blue")
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296

Tag = tuple[int, int, int, bytes]  # code, type, count and the bytes as they are in the file


@dataclass(frozen=True)
class TiffMetadata(Carried):
    """What is written again, as it is in the file."""

    form: str = "plain"  # "plain", "imagej" or "ome"
    byteorder: Literal["<", ">"] = "<"
    tags: tuple[Tag, ...] = ()
    resolution: tuple[tuple[int, int], tuple[int, int], int] | None = None  # x, y, unit
    samples: int = 1  # bands of a directory
    rgb: bool = False
    extra: tuple[int, ...] = ()  # the meaning of bands behind the colors, section 18
    page: int = 0
    pages: int = 1
    depth: int = 1  # slices of each point in time

    @property
    def geographic(self) -> bool:
        return any(tag[0] in GEOREFERENCE for tag in self.tags)


def moved(metadata: TiffMetadata, top: int, left: int) -> TiffMetadata:
    """The metadata of a part that begins at this pixel: its georeference moved there."""
    order = metadata.byteorder
    tags = []
    for code, kind, count, content in metadata.tags:
        if code == TIE_POINTS and kind == DOUBLE and count % 6 == 0:
            points = np.frombuffer(content, f"{order}f8").reshape(-1, 6).copy()
            points[:, :2] -= left, top
            content = points.tobytes()
        elif code == TRANSFORMATION and kind == DOUBLE and count == 16:
            matrix = np.frombuffer(content, f"{order}f8").reshape(4, 4).copy()
            matrix[:3, 3] += matrix[:3, 0] * left + matrix[:3, 1] * top
            content = matrix.tobytes()
        tags.append((code, kind, count, content))
    return replace(metadata, tags=tuple(tags))


def renamed(metadata: TiffMetadata, names: tuple[str, ...]) -> TiffMetadata:
    """The metadata for bands of other names, in a GeoTIFF as GDAL writes them; without what GDAL
    stores of the bands that they replace.
    """
    tags = tuple(tag for tag in metadata.tags if tag[0] != GDAL_METADATA)
    if metadata.geographic:
        items = "".join(
            f'  <Item name="DESCRIPTION" sample="{band}" role="description">{_twice(name)}</Item>\n'
            for band, name in enumerate(names)
        )
        content = f"<GDALMetadata>\n{items}</GDALMetadata>\n".encode() + b"\0"
        tags = tuple(sorted((*tags, (GDAL_METADATA, ASCII, len(content), content))))
    return replace(metadata, tags=tags, rgb=names[:3] == COLORS, extra=())


def _twice(name: str) -> str:
    """A name as GDAL escapes it: as a text, and again as a part of XML."""
    return escape(escape(name))


def band_names(page: "TiffPage", layout: Layout) -> tuple[str, ...]:
    if layout.names:
        return layout.names
    bands = page.samplesperpixel
    tag = page.tags.get(GDAL_METADATA)
    if tag is not None and "DESCRIPTION" in str(tag.value):
        names = {
            item.get("sample", ""): unescape(item.text or "")
            for item in elements(parsed_xml(str(tag.value)), "Item")
            if item.get("name") == "DESCRIPTION"
        }
        listed = [names.get(str(band), "") for band in range(bands)]
        if any(listed):
            return tuple(name or f"band {band + 1}" for band, name in enumerate(listed))
    if page.extrasamples[:1] in ((1,), (2,)) and len(layout.pages[0]) == 1:
        colors = {2: ("grey",), 4: COLORS}.get(bands)
        if colors and len(page.extrasamples) == 1:
            return (*colors, "alpha")
    return ()


def nodata_value(page: "TiffPage", notes: list[str]) -> float | None:
    tag = page.tags.get(NODATA)
    if tag is None:
        return None
    try:
        value = float(str(tag.value).strip("\0 "))
    except ValueError:
        notes.append("its value for missing pixels can't be read; it is left out")
        return None
    if page.photometric == PALETTE:
        return None
    white = largest(page) if page.photometric == WHITE_IS_ZERO else None
    return value if white is None else float(white) - value


def collect(
    file: BinaryIO, tif: "TiffFile", first: "TiffPage", layout: Layout, page: int
) -> TiffMetadata:
    tags = []
    source = first if layout.form == "plain" else tif.pages.first  # where ImageJ and OME store it
    for code in (*DESCRIPTIVE_TAGS, *GEOREFERENCE, GDAL_METADATA, NODATA):
        tag = source.tags.get(code)
        if tag is not None and tag.valuebytecount <= MAX_TAG:
            file.seek(tag.valueoffset)
            tags.append((code, int(tag.dtype), tag.count, file.read(tag.valuebytecount)))
    x, y = source.tags.valueof(X_RESOLUTION), source.tags.valueof(Y_RESOLUTION)
    resolution = None
    if isinstance(x, tuple) and isinstance(y, tuple) and x[1] and y[1]:
        unit = source.tags.valueof(RESOLUTION_UNIT, 2)
        resolution = (x[:2], y[:2], int(unit)) if unit in (1, 2, 3) else None
    rgb = first.photometric in (RGB, PALETTE) or (
        first.photometric == YCBCR and first.compression == JPEG
    )
    samples = 3 if first.photometric == PALETTE else first.samplesperpixel
    extra = tuple(int(kind) for kind in first.extrasamples)
    count = len(layout.pages)
    return TiffMetadata(
        layout.form,
        tif.byteorder,
        tuple(tags),
        resolution,
        samples,
        rgb,
        extra,
        page,
        count,
        layout.depth,
    )
