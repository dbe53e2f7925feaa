"""Pictures that are not 8-bit photographs, of microscopes, scanners and satellites.

Files are read to the exact values that they store, page by page, and values are written to files of
the same kind without loss, with the metadata that the file had. Files may be malicious: sizes are
checked before anything is allocated, nothing is unpickled, and no other file is opened because one
names it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from img2img.errors import DataError
from img2img.formats import TIFF_SIGNATURES
from img2img.metadata import PNG_SIGNATURE
from img2img.rasters import dicom, nifti, npy, png, tiff, tiff_write
from img2img.rasters.raster import MAX_PIXELS, Carried, Header, Raster, named, opened

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "WRITES",
    "Carried",
    "Header",
    "OpenFile",
    "Raster",
    "encode",
    "header",
    "holds",
    "is_raster_name",
    "open_file",
    "raster_suffix",
    "read",
    "suffix_of",
]

SUFFIXES = (".tif", ".tiff", ".npy", ".npz", ".png", ".dcm", ".nii", ".nii.gz", ".svs")
WRITES = SUFFIXES[:-1]
HEAD = 600  # bytes by which a format is recognized; NIfTI-2 has a header of 540
GZIP = b"\x1f\x8b"
TYPES = ("uint8", "uint16", "int16", "int32", "float32")


def is_raster_name(path: Path) -> bool:
    """Whether a file may be a raster, by its suffix."""
    return path.name.lower().endswith(SUFFIXES)


def raster_suffix(path: Path) -> str:
    """The suffix in lower case, .nii.gz as a whole."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def suffix_of(content: bytes) -> str | None:
    """The suffix of SUFFIXES that a file has by its content; None for another format."""
    try:
        kind = _kind(content)
    except Exception as error:  # of hostile bytes, almost any
        raise named(content, error) from None
    match kind:
        case None:
            return None
        case "tiff":
            return ".tif"
        case "dicom":
            return ".dcm"
        case "nifti":
            return ".nii.gz" if content.startswith(GZIP) else ".nii"
        case _:
            return f".{kind}"


@dataclass(frozen=True)
class OpenFile:
    """An open file. Its pages are read fastest in their order: it is decompressed, or its
    directories are walked, once for all of them.
    """

    source: Path | bytes
    kind: str
    pages: tiff.Pages | nifti.Pages | dicom.Pages | None  # None: of a format with a single page

    @cached_property
    def header(self) -> Header:
        """What the file says about its pages. Raises DataError, with the file's name first, for a
        broken file.
        """
        try:
            if self.pages:
                return self.pages.header()
            if self.kind == "png":
                return png.header(self.source)
            return npy.header(self.source, self.kind)
        except Exception as error:  # decoders raise a dozen kinds for broken files
            raise named(self.source, error) from None

    def read(self, page: int = 0, max_pixels: int = MAX_PIXELS, level: int = 0) -> Raster:
        """Decode a page to exact values. Arguments and errors are those of `rasters.read`."""
        try:
            if level and self.kind != "tiff":
                raise DataError(f"it has no level {level}, only 0")
            if isinstance(self.pages, tiff.Pages):
                return self.pages.read(page, max_pixels, level)
            if self.pages:
                return self.pages.read(page, max_pixels)
            if page:
                raise DataError(f"it has no page {page}, only 0")
            if self.kind == "png":
                return png.read(self.source, max_pixels)
            return npy.read(self.source, self.kind, max_pixels)
        except Exception as error:  # decoders raise a dozen kinds for broken files
            raise named(self.source, error) from None


@contextmanager
def open_file(source: Path | bytes) -> Iterator[OpenFile]:
    """A context with the file, or with the bytes of one, for reading several pages of it.

    Raises DataError, with the file's name first, for a broken file and for one that is not read.
    """
    with ExitStack() as files:
        file = _open(source, files)
        if file is None:
            error = DataError("not a file of values that is read. Save it as TIFF or .npy")
            raise named(source, error)
        yield file


def header(source: Path | bytes) -> Header | None:
    """What a file says about its pages; None for a format that this package does not read.

    Raises DataError, with the file's name first, for a broken file and for one that is not read.
    """
    with ExitStack() as files:
        file = _open(source, files)
        return file.header if file else None


def read(
    source: Path | bytes, page: int = 0, max_pixels: int = MAX_PIXELS, level: int = 0
) -> Raster:
    """Decode a page of a file, or of the bytes of one, to exact values.

    Args:
        page: the index of a page or slice, below Header.pages.
        max_pixels: the limit of width times height. Bands may need 32 bytes for each of them.
        level: of a pyramid, below the length of Header.levels; 0 is the full size.

    Raises DataError, with the file's name first, for anything but a complete file of a supported
    format, and TooLarge for too many pixels.
    """
    with open_file(source) as file:
        return file.read(page, max_pixels, level)


def holds(suffix: str, dtype: str, bands: int) -> bool:
    """Whether a file of this suffix can hold bands of this type."""
    if suffix == ".png":
        return dtype in ("uint8", "uint16") and bands <= 4
    return suffix in WRITES and (bands == 1 or suffix not in (".dcm", ".nii", ".nii.gz"))


def encode(values: np.ndarray, like: Raster | None, suffix: str, maker: str = "") -> bytes:
    """The bytes of a file in the suffix's format, lossless.

    Args:
        values: [H, W, bands], or [pages, H, W, bands] for all pages of a file; uint8, uint16,
            int16, int32 or float32.
        like: the raster that was read and translated (any page for all pages), whose metadata is
            written if it is of the same format. DICOM and NIfTI need it for the geometry.
        maker: any text on what made the values. Slices of one DICOM series that the same maker
            has translated are one series, and those of others are another.

    Raises DataError, without a file's name, for values that the format can't hold.
    """
    pages = values if values.ndim == 4 else values[np.newaxis]
    if pages.ndim != 4 or 0 in pages.shape or values.dtype.name not in TYPES:
        raise DataError(
            f"an array of {values.dtype.name} of shape {values.shape} is not a picture. "
            f"Give [height, width, bands] of {', '.join(TYPES)}"
        )
    pages = pages.astype(pages.dtype.newbyteorder("="), copy=False)
    try:
        return _encoded(pages, like, suffix.lower(), maker)
    except DataError:
        raise
    except Exception as error:  # encoders raise a dozen kinds for metadata of broken files
        reason = str(error) or type(error).__name__
        raise DataError(f"{suffix} can't be written ({reason}). Write .npy") from None


def _encoded(pages: np.ndarray, like: Raster | None, suffix: str, maker: str) -> bytes:
    match suffix:
        case ".tif" | ".tiff":
            return tiff_write.encode(pages, like)
        case ".dcm":
            return dicom.encode(pages, like, maker)
        case ".nii" | ".nii.gz":
            return nifti.encode(pages, like, suffix == ".nii.gz")
        case ".npy" | ".npz" | ".png":
            if len(pages) > 1:
                raise DataError(f"{suffix} holds one page, not {len(pages)}. Write .tif")
            if suffix != ".png":
                return npy.encode(pages[0], suffix)
            carried = like.carried if like else None
            metadata = carried if isinstance(carried, png.PngMetadata) else None
            return png.encode(pages[0], metadata, like.nodata if like else None)
    raise DataError(f"{suffix} is not written. Write one of {', '.join(WRITES)}")


def _open(source: Path | bytes, files: ExitStack) -> OpenFile | None:
    """The file, which is closed with `files`; None for a format that is not read."""
    pages: tiff.Pages | nifti.Pages | dicom.Pages | None = None
    try:
        match kind := _kind(source):
            case None:
                return None
            case "tiff":
                pages = tiff.Pages(files.enter_context(opened(source)), files)
            case "nifti":
                pages = nifti.Pages(files.enter_context(opened(source)))
            case "dicom":
                pages = dicom.Pages(files.enter_context(opened(source)))
    except Exception as error:  # decoders raise a dozen kinds for broken files
        raise named(source, error) from None
    return OpenFile(source, kind, pages)


def _kind(source: Path | bytes) -> str | None:
    """The format by a file's first bytes."""
    with opened(source) as file:
        head = file.read(HEAD)
    if head[128:132] == dicom.SIGNATURE:  # before TIFF, whose signature may be in front of it
        return "dicom"
    if head.startswith(TIFF_SIGNATURES):
        return "tiff"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if head.startswith(npy.SIGNATURE):
        return "npy"
    if head.startswith(npy.ZIP_SIGNATURE):
        return "npz" if npy.is_npz(source) else None
    if nifti.is_nifti(head) or (head.startswith(GZIP) and nifti.is_packed(source)):
        return "nifti"
    return None
