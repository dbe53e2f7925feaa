"""The magnification at which a slide was taken, by its file, and the level that has another one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from img2img.errors import DataError
from img2img.rasters import tiff
from img2img.rasters.pyramid import levels
from img2img.rasters.raster import elements, named, opened, parsed_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile

SUFFIXES = (".tif", ".tiff", ".svs")
NEAR = 0.05  # share by which a level's magnification may differ from the wanted one
MICROMETERS = 10.0  # of a pixel at a magnification of 1: 0.5 at 20, as scanners' cameras have it
UNITS = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3}  # in micrometers, of OME


def level_of(path: Path, wanted: float) -> int:
    """The level of a file's pyramid that has a magnification, such as 20, within 5 %.

    Raises DataError, with the file's name first, for a file that doesn't tell its magnification,
    and for one without such a level.
    """
    try:
        each = magnifications(path)
    except Exception as error:  # decoders raise a dozen kinds for broken files
        raise named(path, error) from None
    nearest = min(range(len(each)), key=lambda level: abs(each[level] - wanted))
    if abs(each[nearest] - wanted) > NEAR * wanted:
        listed = ", ".join(f"{value:.3g}" for value in each)
        which = (
            f"its levels have magnifications of {listed}" if len(each) > 1 else f"it is {listed}"
        )
        raise DataError(
            f"{path}: {which}, and none is {wanted:g}. Choose one of these, or cut tiles of "
            "another size and let training resize them."
        )
    return nearest


def magnifications(path: Path) -> list[float]:
    """Of each level of a file's pyramid. Raises DataError for a file that doesn't tell any."""
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError("only TIFFs of slides tell a magnification. Leave out --magnification")
    with opened(path) as file, tiff.parsed(file) as tif:
        layout = tiff.layout_of(file, tif)
        full = _of_full_size(tif)
        if full is None:
            raise DataError(
                "it doesn't tell its magnification (as Aperio's AppMag, OME's NominalMagnification "
                "or PhysicalSizeX do). Choose a --level"
            )
        alone = layout.form == "plain" and len(layout.pages) == 1
        widths = [page.imagewidth for page in levels(tif, layout.pages[0][0], alone)]
        return [full * width / widths[0] for width in widths]


def _of_full_size(tif: "TiffFile") -> float | None:
    """By the description of the first directory."""
    page = tif.pages.first
    text = page.description
    if page.is_ome:
        return _of_ome(parsed_xml(text))
    match = re.search(r"(?:^|\|)\s*AppMag\s*=\s*([\d.]+)", text) if page.is_svs else None
    return _positive(match[1]) if match else None


def _of_ome(document: "Element") -> float | None:
    """The objective's, or, where none is named, that of the pixel size.

    https://www.openmicroscopy.org/Schemas/Documentation/Generated/OME-2016-06/ome.html
    """
    image = next(iter(elements(document, "Image")), document)
    used = [settings.get("ID") for settings in elements(image, "ObjectiveSettings")]
    for objective in elements(document, "Objective"):
        if objective.get("ID") in used:
            power = _positive(objective.get("NominalMagnification", ""))
            if power:
                return power
    for pixels in elements(image, "Pixels")[:1]:
        size = _positive(pixels.get("PhysicalSizeX", ""))
        unit = UNITS.get(pixels.get("PhysicalSizeXUnit", "µm"))
        if size and unit:
            return MICROMETERS / (size * unit)
    return None


def _positive(text: str) -> float | None:
    """A number above 0; None for another text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
