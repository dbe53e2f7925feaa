"""DICOM: values with the rescale slope and intercept applied, of one frame or of several.

Parsed by pydicom, whose decoders are used for uncompressed and run-length coded pixels only.
https://dicom.nema.org/medical/dicom/current/output/html/part03.html (C.7.6.3, C.11.1)
"""

import io
import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from img2img.errors import DataError, MissingPackage, install_command
from img2img.rasters.raster import Carried, Header, Raster, require_bounded
from img2img.rasters.scaling import scaled, stored_range, type_scaled

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

INSTALL = f"DICOM needs another package. Install it with: {install_command('medical')}"
SIGNATURE = b"DICM"  # at 128
DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
RUN_LENGTH = "1.2.840.10008.1.2.5"
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422")
PADDING = 0x0028_0120  # PixelPaddingValue, whose type is that of the pixels
# What describes the original's values or frames.
OUTDATED = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "PixelPaddingRangeLimit"),
)
DESCRIPTION = "Translated by img2img"


@dataclass(frozen=True)
class DicomMetadata(Carried):
    dataset: bytes = b""  # the file without its pixels
    page: int = 0
    pages: int = 1
    slope: float = 1
    intercept: float = 0
    inverted: bool = False  # from MONOCHROME1, where larger values are darker


class Pages:
    """The frames of an open file."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._dataset = _dataset(file)

    def header(self) -> Header:
        dataset = self._dataset
        height, width, bands, stored = _form(dataset)
        slope, intercept = _rescale(dataset, 0)
        dtype = type_scaled(stored, slope, intercept, int(dataset.BitsStored))
        return Header("dicom", (width, height), bands, dtype.name, _frames(dataset))

    def read(self, page: int, max_pixels: int) -> Raster:
        dataset = self._dataset
        notes: list[str] = []
        values = self._stored(page, max_pixels)
        slope, intercept = _rescale(dataset, page)
        bits = int(dataset.BitsStored)
        inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
        inverted = inverted and (slope, intercept) == (1, 0)
        padding = dataset.get("PixelPaddingValue")
        if inverted:
            notes.append("MONOCHROME1 values are inverted; MONOCHROME2 is written")
            _, _, _, stored = _form(dataset)
            ends = sum(stored_range(stored, bits))
            values = (ends - values.astype(np.int64)).astype(stored)
            padding = None if padding is None else ends - int(padding)
        elif dataset.PhotometricInterpretation == "MONOCHROME1":
            notes.append("MONOCHROME1: larger values are darker")
        if "ModalityLUTSequence" in dataset:
            notes.append("its modality lookup table is not applied")
        results = scaled(values, slope, intercept, notes, bits)
        nodata = None if padding is None else slope * int(padding) + intercept
        pages = _frames(dataset)
        metadata = DicomMetadata(self._content, page, pages, slope, intercept, inverted)
        return Raster(results, (), nodata, _unit(dataset), metadata, tuple(notes))

    def _stored(self, page: int, max_pixels: int) -> np.ndarray:
        """The stored values of a frame, [H, W, bands]."""
        from pydicom.pixels.utils import pixel_array

        self._file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but harmless values
            pages = _frames(self._dataset)
            if not 0 <= page < pages:
                raise DataError(f"it has no frame {page}, only 0 to {pages - 1}")
            height, width, bands, stored = _form(self._dataset)
            packed = int(self._dataset.BitsAllocated) == 1  # whose frames may begin within a byte
            require_bounded((width, height), bands * (pages if packed else 1), stored, max_pixels)
            try:
                values = pixel_array(self._file, index=None if packed else page)
            except AttributeError as error:  # of a required element
                reason = f"its pixels, or what describes them, are missing ({error})"
                raise DataError(reason) from None
        return (values[page] if packed and pages > 1 else values).reshape(height, width, bands)

    @cached_property
    def _content(self) -> bytes:
        return _written(self._dataset)


def encode(pages: np.ndarray, like: Raster | None, maker: str = "") -> bytes:
    """pages: [P, H, W, bands], all frames of the file, or one of them. The series is a new one,
    which is the same for all slices of one series with the same maker.

    Integers are written exactly, with the file's slope and intercept if these allow it, else with 1
    and 0. float32 is rounded to the file's own steps, because DICOM stores integers.

    Raises DataError without the file's metadata, for another size, and for values that are out of
    the file's range.
    """
    try:
        import pydicom
        from pydicom.uid import generate_uid
    except ImportError:
        raise MissingPackage(INSTALL) from None
    if like is None or not isinstance(like.carried, DicomMetadata):
        raise DataError("DICOM is written only for values that were read from DICOM. Write .tif")
    metadata = like.carried
    count, height, width, bands = pages.shape
    if like.values.shape != (height, width, bands):
        raise DataError(
            f"a result of {width}x{height} with {bands} bands does not fit the geometry of the "
            "file. Write .tif"
        )
    if count not in (1, metadata.pages):
        raise DataError(f"{count} frames are neither one nor all {metadata.pages} of the file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(metadata.dataset))
        _, _, _, stored = _form(dataset)
        _set_pixels(dataset, pages, like, metadata, stored)
        if metadata.inverted:
            _invert_display(dataset, stored)
        if count != metadata.pages:
            _keep_frame(dataset, metadata.page)
        kind = list(dataset.get("ImageType") or [])
        dataset.ImageType = ["DERIVED", "SECONDARY", *kind[2:]]
        dataset.DerivationDescription = DESCRIPTION
        series = str(dataset.get("SeriesInstanceUID", ""))
        if series:
            dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["img2img", maker, series])
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return _written(dataset)


def _dataset(file: BinaryIO) -> "FileDataset":
    """The file without its pixels. Raises DataError for what has none, or is not read."""
    try:
        import pydicom
        from pydicom.filereader import read_dataset
    except ImportError:
        raise MissingPackage(INSTALL) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.seek(132)
        # Before pydicom inflates a dataset of any size.
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        syntax = meta.get("TransferSyntaxUID")
        if str(meta.get("MediaStorageSOPClassUID")) == DIRECTORY:
            raise DataError("a DICOMDIR, which only lists other files. Name those files")
        if syntax is None:
            raise DataError("its transfer syntax is missing")
        if str(syntax) not in (*UNCOMPRESSED, RUN_LENGTH):
            name = pydicom.uid.UID(str(syntax)).name
            raise DataError(
                f"its pixels are compressed as {name}, which is not read. Decompress it, for "
                "example with: gdcmconv --raw"
            )
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        missing = [
            k for k in ("Rows", "Columns", "BitsAllocated", "BitsStored") if k not in dataset
        ]
        if missing:
            raise DataError(f"it has no picture ({missing[0]} is missing)")
    return dataset


def _form(dataset: "Dataset") -> tuple[int, int, int, np.dtype[np.generic]]:
    """Height, width, bands, and the type of the stored values."""
    bits, used = int(dataset.BitsAllocated), int(dataset.BitsStored)
    colors = str(dataset.get("PhotometricInterpretation", ""))
    bands = int(dataset.get("SamplesPerPixel", 1))
    if colors == "PALETTE COLOR":
        raise DataError("a DICOM with a palette is not read. Convert it to RGB or grey first")
    if bits not in (1, 8, 16, 32) or not 1 <= used <= bits or bands not in (1, 3):
        raise DataError(f"{bands} bands of {used} in {bits} bits are not read")
    if (bands == 3) != (colors in COLORS):
        raise DataError(f"{bands} bands of {colors or 'unknown colors'} are not read")
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    dtype = np.dtype(f"{'i' if signed else 'u'}{max(1, bits // 8)}")
    return int(dataset.Rows), int(dataset.Columns), bands, dtype


def _frames(dataset: "Dataset") -> int:
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def _transformations(dataset: "Dataset", page: int | None = None) -> list["Dataset"]:
    """The data sets with a slope: of each frame, or of one, then of all frames and of the file."""
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    groups = frames if page is None else frames[page : page + 1]
    groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])
    inner = [t for g in groups for t in g.get("PixelValueTransformationSequence") or []]
    return [part for part in (*inner, dataset) if part.get("RescaleSlope") is not None]


def _rescale(dataset: "Dataset", page: int) -> tuple[float, float]:
    """Slope and intercept of a frame."""
    for part in _transformations(dataset, page):
        slope, intercept = float(part.RescaleSlope), float(part.get("RescaleIntercept") or 0)
        if not slope or not (math.isfinite(slope) and math.isfinite(intercept)):
            raise DataError("its rescale slope or intercept is not valid")
        return slope, intercept
    return 1.0, 0.0


def _unit(dataset: "Dataset") -> str:
    """RescaleType, unless it is US (unspecified), or Units of PET, or HU of CT."""
    declared = next((p.get("RescaleType") for p in _transformations(dataset)), None)
    if declared and declared != "US":
        return str(declared)
    if dataset.get("Units"):
        return str(dataset.Units)
    return "HU" if dataset.get("Modality") == "CT" else ""


def _written(dataset: "Dataset") -> bytes:
    """The file, uncompressed and little-endian."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _set_pixels(
    dataset: "Dataset",
    pages: np.ndarray,
    like: Raster,
    metadata: DicomMetadata,
    stored: np.dtype[np.generic],
) -> None:
    """Set PixelData and the elements that describe it."""
    from pydicom.valuerep import DSfloat

    if not np.isfinite(pages).all():
        raise DataError("DICOM can't hold values that are not finite. Write .tif")
    slope, intercept = metadata.slope, metadata.intercept
    bits = int(dataset.BitsStored)
    steps = np.rint((pages.astype(np.float64) - intercept) / slope)
    least, most = stored_range(stored, bits)
    fits = steps.min() >= least and steps.max() <= most
    exact = fits and np.array_equal((steps * slope + intercept).astype(pages.dtype), pages)
    if pages.dtype.kind != "f" and not exact:
        slope, intercept, steps, stored = 1.0, 0.0, pages, pages.dtype
        bits = 8 * stored.itemsize
    elif not fits:
        raise DataError(
            f"values from {pages.min()} to {pages.max()} are out of the range that the file can "
            f"hold, {least * slope + intercept} to {most * slope + intercept}. Write .tif"
        )
    for part in _transformations(dataset):
        if (part.RescaleSlope, part.get("RescaleIntercept", 0)) != (slope, intercept):
            part.RescaleSlope = DSfloat(slope, auto_format=True)  # of 16 characters at most
            part.RescaleIntercept = DSfloat(intercept, auto_format=True)
    for keyword in OUTDATED:
        if keyword in dataset:
            del dataset[keyword]
    dataset.BitsAllocated, dataset.BitsStored = 8 * stored.itemsize, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(stored.kind == "i")
    if PADDING in dataset:
        del dataset[PADDING]
    padding = None if like.nodata is None else round((like.nodata - intercept) / slope)
    if padding is not None and stored.itemsize <= 2:
        low, high = stored_range(stored)
        if low <= padding <= high:
            dataset.add_new(PADDING, "SS" if stored.kind == "i" else "US", padding)
    if pages.shape[-1] == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    elif metadata.inverted:
        dataset.PhotometricInterpretation = "MONOCHROME2"
    content = np.ascontiguousarray(steps, stored.newbyteorder("<")).tobytes()
    content += b"\0" * (len(content) % 2)
    dataset.add_new(0x7FE0_0010, "OB" if stored.itemsize == 1 else "OW", content)


def _invert_display(dataset: "Dataset", stored: np.dtype[np.generic]) -> None:
    """Windows of MONOCHROME1 for inverted values."""
    centers = dataset.get("WindowCenter")
    if centers is not None and "RescaleSlope" not in dataset:
        ends = sum(stored_range(stored, int(dataset.BitsStored)))
        several = dataset["WindowCenter"].VM > 1
        moved = [ends - float(center) for center in (centers if several else [centers])]
        dataset.WindowCenter = moved if several else moved[0]


def _keep_frame(dataset: "Dataset", page: int) -> None:
    """Make a data set of several frames that of one of them."""
    dataset.NumberOfFrames = 1
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames:
        dataset.PerFrameFunctionalGroupsSequence = [frames[page]]
    for keyword in ("FrameTimeVector", "FrameIncrementPointer"):
        if keyword in dataset:
            del dataset[keyword]
