"""Which directories of a TIFF make up a page, and in which order: a directory of its own, or one
for each channel, as ImageJ and OME-TIFF store them.
"""

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from img2img.errors import DataError
from img2img.rasters.raster import elements, parsed_xml

IMAGEJ = ("ImageJ=", "SCIFIO=")  # with which descriptions begin


@dataclass(frozen=True)
class Layout:
    form: str  # "plain", "imagej" or "ome"
    pages: list[tuple[int, ...]]  # of each page, its directories, one for each channel
    names: tuple[str, ...] = ()  # of the channels
    depth: int = 1  # slices of each point in time
    notes: tuple[str, ...] = ()


def imagej_counts(description: str) -> tuple[int, int, int]:
    """The channels, slices and planes that ImageJ's description lists; 1 where it lists none.

    https://imagej.net/ij/developer/source/ij/io/FileInfo.java.html (getDescription in FileSaver)
    """
    entries = dict(re.findall(r"^(\w+)=(\d{1,9})\s*$", description, re.MULTILINE))
    channels, slices, planes = (int(entries.get(k, 1)) for k in ("channels", "slices", "images"))
    return max(1, channels), max(1, slices), max(1, planes)


def imagej_layout(description: str, directories: int) -> Layout | None:
    """None where the description contradicts the number of directories.

    Planes are in the order channel, slice, time. Files of more than 4 GB have one directory for all
    planes: then directories is the number of planes for which there are bytes.
    """
    channels, slices, planes = imagej_counts(description)
    if planes % channels or planes > directories:
        return None
    pages = [tuple(range(at, at + channels)) for at in range(0, planes, channels)]
    return Layout("imagej", pages, (), slices)


def ome_layout(description: str, samples: int, directories: int) -> Layout:
    """The layout by OME-XML. samples: bands of a directory, for example 3 for RGB.

    Pages are in the order slice, time, image. Raises DataError for planes that are in other files,
    which are never opened, and where planes are missing.
    https://docs.openmicroscopy.org/ome-model/6.3.1/ome-tiff/specification.html
    """
    document = parsed_xml(description)
    if elements(document, "BinaryOnly"):
        raise DataError(
            "its OME metadata is in another file, which is not opened. Save it as one OME-TIFF"
        )
    pages: list[tuple[int, ...]] = []
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    first, depth, start = None, 1, 0
    for image in elements(document, "Image"):
        for pixels in elements(image, "Pixels")[:1]:
            width, height, channels, slices, times = _sizes(pixels)
            form = (width, height, channels, pixels.get("Type", ""))
            planes = _planes(document, pixels, channels // samples, start, directories)
            start += len(planes)
            if first is None:
                first, depth, names = form, slices, channel_names(pixels)
            if form != first:
                notes = ("images of another size are left out",)
                continue
            pages += [
                tuple(planes[channel, z, t] for channel in range(max(1, channels // samples)))
                for t in range(times)
                for z in range(slices)
            ]
    if not pages:
        raise DataError("its OME metadata describes no image")
    return Layout("ome", pages, names, depth, notes)


def channel_names(pixels: Element) -> tuple[str, ...]:
    """The names of all bands; empty where any has none."""
    names: list[str] = []
    for channel in elements(pixels, "Channel"):
        name = channel.get("Name", "")
        samples = _number(channel, "SamplesPerPixel", 1)
        if samples > 1:
            names += [f"{name} {sample + 1}" if name else "" for sample in range(min(samples, 4))]
        else:
            names.append(name)
    complete = len(names) == _number(pixels, "SizeC", 1) and all(names)
    return tuple(names) if complete else ()


def _sizes(pixels: Element) -> list[int]:
    sizes = [_number(pixels, f"Size{axis}", 1) for axis in "XYCZT"]
    if min(sizes) < 1:
        raise DataError("its OME metadata has a size below 1")
    return sizes


def _planes(
    document: Element,
    pixels: Element,
    channels: int,
    start: int,
    directories: int,
) -> dict[tuple[int, int, int], int]:
    """(channel, slice, time) -> directory.

    start: the first directory that no image before this one has used.
    """
    sizes = {"C": max(1, channels), "Z": _number(pixels, "SizeZ", 1)}
    sizes["T"] = _number(pixels, "SizeT", 1)
    count = sizes["C"] * sizes["Z"] * sizes["T"]
    order = pixels.get("DimensionOrder", "")[2:] or "CZT"
    if sorted(order) != ["C", "T", "Z"] or count > directories:
        raise DataError(
            f"its OME metadata describes {count} planes, the file has {directories} pages"
        )
    file_id = document.get("UUID", "")
    planes: dict[tuple[int, int, int], int] = {}
    blocks = elements(pixels, "TiffData")
    if len(blocks) > 2 * count:
        raise DataError("its OME metadata describes planes more than once")
    for block in blocks:
        for uuid in elements(block, "UUID"):
            if file_id and (uuid.text or "").strip() != file_id and uuid.get("FileName"):
                raise DataError(
                    "some of its planes are in other files, which are not opened. "
                    "Save it as one OME-TIFF"
                )
        at = {axis: _number(block, f"First{axis}", 0) for axis in "CZT"}
        whole = "IFD" not in block.attrib and "PlaneCount" not in block.attrib
        directory = _number(block, "IFD", 0)
        repeat = count if whole else _number(block, "PlaneCount", 1)
        for index in range(min(repeat, count)):
            planes[_position(order, sizes, at, index)] = directory + index
            if len(planes) == count and len(blocks) == 1:
                break
    if not blocks:
        none = dict.fromkeys("CZT", 0)
        planes = {_position(order, sizes, none, i): start + i for i in range(count)}
    inside = [0 <= directory < directories for directory in planes.values()]
    if len(planes) < count or not all(inside):
        raise DataError("some of the planes that its OME metadata describes are missing")
    return planes


def _position(
    order: str, sizes: dict[str, int], at: dict[str, int], index: int
) -> tuple[int, int, int]:
    """Channel, slice and time, `index` planes behind `at` in the order of dimensions."""
    step, rest = 1, index
    for axis in order:
        rest += at[axis] * step
        step *= sizes[axis]
    place = {}
    for axis in order:
        rest, place[axis] = divmod(rest, sizes[axis])
    return place["C"], place["Z"], place["T"]


def _number(element: Element, name: str, default: int) -> int:
    text = element.get(name, "")
    if text and not re.fullmatch(r"\d{1,9}", text):
        raise DataError(f"its OME metadata has {name}={text[:20]!r}, which is not a number")
    return int(text) if text else default
