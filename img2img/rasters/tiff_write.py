"""Writing TIFF, with the metadata of the file that the values were read from.

Every band is written as it is, with deflate; for ImageJ, which reads no compressed stacks,
uncompressed.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO
from xml.dom import minidom

import numpy as np

from img2img.box import Box
from img2img.errors import DataError, MissingPackage
from img2img.files import usable_cores
from img2img.rasters.array_file import ArrayFile
from img2img.rasters.raster import Raster, require_safe_xml
from img2img.rasters.tiff_metadata import (
    ASCII,
    DESCRIPTION,
    GDAL_METADATA,
    ICC_PROFILE,
    IMAGEJ_METADATA,
    IMAGEJ_SIZES,
    NODATA,
    Tag,
    TiffMetadata,
)
from img2img.rasters.tiff_page import INSTALL

TILE = 512  # side, px, of the tiles of pictures that are written in parts
ALPHA = 2  # not premultiplied, section 18
CLASSIC_LIMIT = 2**32 - 2**24  # bytes of values, beyond which BigTIFF is written
SHAPE = b'{"shape"'  # of tifffile's description, which may be that of all pages
OME_TYPES = {"float32": "float"}  # numpy's names, where OME has another


def encode(pages: np.ndarray, like: Raster | None) -> bytes:
    """pages: [P, H, W, bands].

    like: the raster that was read; its metadata is written again. Georeferences and pixel sizes
    raise DataError for another size.
    """
    buffer = io.BytesIO()
    _write(buffer, pages.shape, pages.dtype, like, partial(_planes, pages))
    return buffer.getvalue()


def save(path: Path, pages: Sequence[ArrayFile], like: Raster | None) -> None:
    """Write pages whose values are in a file, each [H, W, bands], in tiles, without reading all of
    them at once. like: as in `encode`.
    """
    shape = (len(pages), *pages[0].shape)
    with path.open("wb") as file:
        tiles = partial(_tiles_of_planes, pages)
        _write(file, shape, pages[0].dtype, like, tiles, (TILE, TILE))


def _write(
    target: BinaryIO,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    like: Raster | None,
    planes: Callable[[int, np.dtype[np.generic]], Iterable[np.ndarray | Iterator[np.ndarray]]],
    tile: tuple[int, int] | None = None,
) -> None:
    """shape: [P, H, W, bands]. planes: gives what is written to each directory, for a number of
    bands in each, and a type: [H, W] or [H, W, bands], or its tiles.
    """
    try:
        import tifffile
    except ImportError:
        raise MissingPackage(f"writing a TIFF of these values {INSTALL}") from None
    metadata = TiffMetadata()
    if like and isinstance(like.carried, TiffMetadata):
        metadata = like.carried
    _, height, width, bands = shape
    same = like is not None and like.values.shape[-1] == bands
    stacked = metadata.form != "plain"
    if like and (stacked or metadata.geographic) and like.values.shape[:2] != (height, width):
        old_height, old_width = like.values.shape[:2]
        raise DataError(
            f"a result of {width}x{height} does not fit the pixel size and position of its file "
            f"of {old_width}x{old_height}"
        )
    samples = bands
    if stacked:
        samples = metadata.samples if same else 1
    elif like is None or not isinstance(like.carried, TiffMetadata):
        guess = bands in (3, 4) and dtype.kind == "u"
        metadata = TiffMetadata(rgb=guess, extra=(ALPHA,) if guess and bands == 4 else ())
    rgb = metadata.rgb and samples >= 3
    extra = samples - (3 if rgb else 1)
    meanings = metadata.extra if len(metadata.extra) == extra else (0,) * extra
    big = int(np.prod(shape)) * dtype.itemsize > CLASSIC_LIMIT
    stored = dtype.newbyteorder(metadata.byteorder)
    packed = metadata.form != "imagej" or tile is not None
    with tifffile.TiffWriter(target, bigtiff=big, byteorder=metadata.byteorder) as file:
        tags = _tags(metadata, like, shape, dtype, same)
        for plane in planes(samples, stored):
            file.write(
                plane,
                shape=(height, width) if samples == 1 else (height, width, samples),
                dtype=stored,
                tile=tile,
                photometric="rgb" if rgb else "minisblack",
                planarconfig="contig" if samples > 1 else None,
                extrasamples=meanings or None,
                compression="zlib" if packed else None,
                predictor=packed and dtype.kind in "ui",
                resolution=metadata.resolution[:2] if metadata.resolution else None,
                resolutionunit=metadata.resolution[2] if metadata.resolution else None,
                software=False,
                metadata=None,
                extratags=[(*tag, False) for tag in tags],
                contiguous=False,
                maxworkers=usable_cores() if tile else 1,
            )
            if stacked:  # their metadata is in the first directory
                tags = []


def _planes(pages: np.ndarray, samples: int, dtype: np.dtype[np.generic]) -> list[np.ndarray]:
    """What is written to each directory, [H, W] or [H, W, samples]."""
    parts = [
        page[..., at : at + samples] for page in pages for at in range(0, pages.shape[-1], samples)
    ]
    contiguous = [np.ascontiguousarray(part, dtype) for part in parts]
    return [part[..., 0] if samples == 1 else part for part in contiguous]


def _tiles_of_planes(
    pages: Sequence[ArrayFile], samples: int, dtype: np.dtype[np.generic]
) -> Iterator[Iterator[np.ndarray]]:
    """The tiles of what is written to each directory, [TILE, TILE] or [TILE, TILE, samples]."""
    for page in pages:
        for at in range(0, page.shape[2], samples):
            yield _tiles(page, slice(at, at + samples), dtype)


def _tiles(array: ArrayFile, bands: slice, dtype: np.dtype[np.generic]) -> Iterator[np.ndarray]:
    height, width, _ = array.shape
    whole = Box(0, height, 0, width)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            box = Box(top, top + TILE, left, left + TILE).common(whole)
            values = array.read(box)[..., bands]
            edges = ((0, TILE - box.height), (0, TILE - box.width), (0, 0))
            tile = np.ascontiguousarray(np.pad(values, edges), dtype)
            yield tile[..., 0] if tile.shape[2] == 1 else tile


def _tags(
    metadata: TiffMetadata,
    like: Raster | None,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    same: bool,
) -> list[Tag]:
    """shape: [P, H, W, bands]. same: the bands are as many as the file's, so that metadata on bands
    is still valid.
    """
    count, _, _, bands = shape
    tags = {tag[0]: tag for tag in metadata.tags}
    if not same:
        if len(like.bands if like else ()) != bands:  # else it was made for the bands
            tags.pop(GDAL_METADATA, None)
        tags.pop(ICC_PROFILE, None)
    if count != metadata.pages or not same:  # labels of planes, and colors of channels
        tags.pop(IMAGEJ_METADATA, None)
        tags.pop(IMAGEJ_SIZES, None)
    if like is not None and like.nodata is not None:
        carried = tags.get(NODATA)
        if carried is None or _value(carried[3]) != like.nodata:
            tags[NODATA] = _text(NODATA, repr(like.nodata))
    if like is not None and like.nodata is None:  # of a palette, or not readable
        tags.pop(NODATA, None)
    if DESCRIPTION in tags and tags[DESCRIPTION][3].startswith(SHAPE):
        del tags[DESCRIPTION]
    if DESCRIPTION in tags and metadata.form != "plain":
        text = _decoded(tags[DESCRIPTION][3])
        depth = metadata.depth if count == metadata.pages else count
        if metadata.form == "imagej":
            tags[DESCRIPTION] = _text(DESCRIPTION, _imagej(text, bands, metadata, depth, count))
        else:
            described = _ome(text, count, bands, dtype.name, metadata, depth, same)
            tags[DESCRIPTION] = _text(DESCRIPTION, described)
    return [tags[code] for code in sorted(tags)]


def _decoded(text: bytes) -> str:
    """Up to the first zero; older writers use Latin-1."""
    content = text.partition(b"\0")[0]
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _value(text: bytes) -> float | None:
    try:
        return float(text.strip(b"\0 "))
    except ValueError:
        return None


def _text(code: int, text: str) -> Tag:
    content = text.encode() + b"\0"
    return code, ASCII, len(content), content


def _imagej(text: str, bands: int, metadata: TiffMetadata, depth: int, count: int) -> str:
    """ImageJ's description with the counts of planes that are written."""
    channels = bands // (metadata.samples if bands % metadata.samples == 0 else 1)
    lines = text.splitlines()
    kept = [x for x in lines if not re.match(r"(images|channels|slices|frames)=", x)]
    frames = count // depth
    sizes = {"channels": channels, "slices": depth, "frames": frames}
    counts = [f"images={channels * count}"]
    counts += [f"{name}={size}" for name, size in sizes.items() if size > 1]
    return "\n".join([*kept[:1], *counts, *kept[1:], ""])


def _ome(
    text: str,
    count: int,
    bands: int,
    dtype: str,
    metadata: TiffMetadata,
    depth: int,
    same: bool,
) -> str:
    """The file's OME-XML for the planes that are written, in the order channel, slice, time."""
    require_safe_xml(text)
    document = minidom.parseString(text.strip().encode())  # noqa: S318, it has no entities
    images = _elements(document, "Image")
    for image in images[1:]:
        _remove(image)
    pixels = _elements(images[0], "Pixels")[0]
    attributes: dict[str, object] = {"SizeC": bands, "SizeZ": depth, "SizeT": count // depth}
    attributes |= {"Type": OME_TYPES.get(dtype, dtype), "DimensionOrder": "XYCZT"}
    for name, value in attributes.items():
        pixels.setAttribute(name, str(value))
    for name in ("SignificantBits", "BigEndian"):
        if pixels.hasAttribute(name):
            pixels.removeAttribute(name)
    for block in _elements(pixels, "TiffData"):
        _remove(block)
    for plane in _elements(pixels, "Plane"):
        if not same or count != metadata.pages:
            _remove(plane)
    channels = _elements(pixels, "Channel")
    if not same:
        for channel in channels:
            _remove(channel)
        channels = []
        for band in range(bands):
            channel = _like(document, pixels, "Channel")
            channel.setAttribute("ID", f"Channel:0:{band}")
            channel.setAttribute("SamplesPerPixel", "1")
            pixels.insertBefore(channel, pixels.firstChild)
    data = _like(document, pixels, "TiffData")
    data.setAttribute("IFD", "0")
    samples = metadata.samples if same else 1
    data.setAttribute("PlaneCount", str(count * bands // samples))
    # The schema's order is: channels, data, planes.
    behind = next((e for e in _elements(pixels, "Plane") if e.parentNode is pixels), None)
    pixels.insertBefore(data, behind)
    written = document.documentElement
    assert written is not None  # of a document that was parsed
    if written.hasAttribute("UUID"):  # of the original
        written.removeAttribute("UUID")
    return '<?xml version="1.0" encoding="UTF-8"?>' + written.toxml()


def _elements(node: minidom.Document | minidom.Element, name: str) -> list[minidom.Element]:
    """All elements below the node of a name without its prefix."""
    return [e for e in node.getElementsByTagName("*") if (e.localName or e.tagName) == name]


def _like(document: minidom.Document, parent: minidom.Element, name: str) -> minidom.Element:
    """A new element with its parent's prefix and namespace."""
    prefix = f"{parent.prefix}:" if parent.prefix else ""
    return document.createElementNS(parent.namespaceURI, prefix + name)


def _remove(element: minidom.Element) -> None:
    if element.parentNode:
        element.parentNode.removeChild(element)
