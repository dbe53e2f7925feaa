"""Files of values for models of values: read within limits, and answered in files."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from img2img import images, rasters
from img2img.app.parameters import Format
from img2img.errors import DataError, UsageError
from img2img.images import Metadata, Picture, TooLarge, require_bounded
from img2img.infer import values
from img2img.infer.plan import formats_of
from img2img.infer.values import Values
from img2img.manifest import Manifest
from img2img.rasters.raster import BYTES_PER_PIXEL

SUFFIXES: dict[Format, str] = {
    "png": ".png",
    "webp": ".webp",
    "jpeg": ".jpg",
    "tiff": ".tif",
    "npy": ".npy",
}
OF_VALUES: tuple[Format, ...] = ("tiff", "npy")  # which models of photographs do not answer with
MEDIA_TYPES = {  # of other suffixes: BYTES
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".tif": "image/tiff",
    ".dcm": "application/dicom",
    ".npz": "application/zip",
    ".nii.gz": "application/gzip",
}
BYTES = "application/octet-stream"
ONE = "image"  # the name of the input of a model that has one


def inputs_of(manifest: Manifest) -> tuple[str, ...]:
    """The names of a model's inputs, in their order."""
    parts = manifest.intensity_in.parts if manifest.intensity_in else ()
    return tuple(part.name for part in parts) or (ONE,)


def suffix_of_answer(content: bytes, manifest: Manifest, wanted: Format | None = None) -> str:
    """The suffix of the file that a model's answer becomes.

    content: of the file that was sent, or of that of the first input, whose format an answer of
    values has by default if it can hold it. Raises UsageError for a wanted format that the model
    does not answer with.
    """
    formats = formats_of(manifest)
    if wanted:
        offered = [
            name
            for name, suffix in SUFFIXES.items()
            if suffix in formats.kept and (manifest.has_values or name not in OF_VALUES)
        ]
        if wanted not in offered:
            given = manifest.intensity_out
            gives = f"values, {given.describe()}" if given else "photographs"
            raise UsageError(
                f"{manifest.name} gives {gives}. `format` is one of {', '.join(offered)}, and not "
                f"{wanted}."
            )
        return SUFFIXES[wanted]
    if not manifest.has_values:
        return ".png"
    sent = rasters.suffix_of(content)
    return sent if sent and sent in formats.kept else formats.otherwise


def read(contents: Sequence[bytes], manifest: Manifest, max_pixels: int, seconds: float) -> Values:
    """The picture in the files, one for each input of a model whose inputs are values.

    max_pixels: of all pages together, as the model runs them. seconds: after which no further page
    is read. Raises DataError, with the input's name first, for a file that the model does not take,
    and TooLarge before anything is decoded.
    """
    intensity, inputs = manifest.intensity_in, inputs_of(manifest)
    assert intensity  # of a model whose inputs are values
    names = inputs if len(inputs) > 1 else ("the picture",)
    ends = time.monotonic() + seconds

    def before_page() -> None:
        if time.monotonic() > ends:
            raise DataError(
                f"reading all pages takes longer than {seconds:g} s. img2img translate has no limit"
            )

    for name, content in zip(names, contents, strict=True):
        require_bounded(content)
        header = _header(content, name)
        if header is None:  # a photograph, whose size is checked where it is read
            continue
        pixels = header.pages * header.size[0] * header.size[1]
        stored = pixels * header.bands * np.dtype(header.dtype).itemsize
        if pixels > max_pixels or stored > BYTES_PER_PIXEL * max_pixels:
            raise _too_large(name, header.size, header.pages, header.bands, max_pixels)
    picture = values.read(contents, names, intensity, max_pixels, before_page)
    height, width = picture.values.shape[-3:-1]
    run = _padded(width, manifest) * _padded(height, manifest)
    if run * len(picture.pages) > max_pixels:
        raise _too_large(names[0], (width, height), len(picture.pages), 1, max_pixels)
    return picture


def pages_of(source: Picture | Values) -> list[np.ndarray]:
    """What the model translates: [H, W, bands] of each page."""
    return source.pages if isinstance(source, Values) else [source.pixels]


def encoded(
    source: Picture | Values,
    results: Sequence[np.ndarray],
    manifest: Manifest,
    suffix: str,
    maker: str,
) -> tuple[bytes, tuple[str, ...]]:
    """The answer's file, and notes on it: values with the metadata of their file, photographs
    without, since who sent them has it.

    results: what the model made of each page of the source. maker: the model's SHA-256 and what it
    translates to, by which answers for the slices of one DICOM series are one new series. Raises
    DataError for what the format can't hold.
    """
    intensity = manifest.intensity_out
    if isinstance(source, Values) and (intensity or suffix in rasters.WRITES):
        result = np.stack(results) if source.values.ndim == 4 else results[0]
        return values.encode(result, source.raster, source.missing, intensity, suffix, maker)
    if len(results) > 1:
        raise DataError(f"{suffix} holds one page, not {len(results)}. Choose the format tiff.")
    [result] = results
    if intensity:
        return values.encode(result, None, None, intensity, suffix)
    picture = source.translated(result) if isinstance(source, Picture) else Picture(result)
    return images.encode(replace(picture, metadata=Metadata()), suffix), ()


def _header(content: bytes, name: str) -> rasters.Header | None:
    try:
        return rasters.header(content)
    except DataError as error:
        raise type(error)(f"{name}: {str(error).removeprefix('the picture: ')}") from None


def _padded(side: int, manifest: Manifest) -> int:
    """The side, px, that a model pads one to."""
    return max(manifest.min_size, -(-side // manifest.size_multiple) * manifest.size_multiple)


def _too_large(
    name: str, size: tuple[int, int], pages: int, bands: int, max_pixels: int
) -> TooLarge:
    several = f"{pages} pages of " if pages > 1 else ""
    of_bands = f" with {bands} bands" if bands > 1 else ""
    return TooLarge(
        f"{name}: {several}{size[0]}x{size[1]}{of_bands} is more than {max_pixels:,} pixels, the "
        "limit here. img2img translate takes larger files."
    )
