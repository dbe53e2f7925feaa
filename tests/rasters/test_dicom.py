"""DICOM, written and read by pydicom on the other side."""

import contextlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_rescale  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

IMPLICIT = (ImplicitVRLittleEndian,)
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def stored(dtype="uint16", shape=(5, 6), most=4096):
    info = np.iinfo(dtype)
    low, high = max(info.min, -most), min(info.max + 1, most)
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def dataset(array, syntax=ExplicitVRLittleEndian, bits=None, **elements) -> Dataset:
    """array: [H, W], [H, W, 3], or with frames: [F, H, W]."""
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = syntax
    result.file_meta.MediaStorageSOPClassUID = CTImageStorage
    result.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    result.SOPClassUID = CTImageStorage
    result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID
    result.SeriesInstanceUID = generate_uid()
    result.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    result.Modality, result.PatientName = "CT", "Doe^Jane"
    result.ImagePositionPatient, result.PixelSpacing = [1.5, -2, 30], [0.7, 0.8]
    color = array.shape[-1] == 3
    frames = array.ndim - color == 3
    if frames:
        result.NumberOfFrames = len(array)
    result.Rows, result.Columns = array.shape[1:3] if frames else array.shape[:2]
    result.SamplesPerPixel = 3 if color else 1
    result.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        result.PlanarConfiguration = 0
    result.BitsAllocated = 8 * array.dtype.itemsize
    result.BitsStored = bits or result.BitsAllocated
    result.HighBit = result.BitsStored - 1
    result.PixelRepresentation = int(array.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    content = array.astype(array.dtype.newbyteorder(order)).tobytes()
    result.PixelData = content + b"\0" * (len(content) % 2)
    result["PixelData"].VR = "OB" if array.itemsize == 1 and syntax not in IMPLICIT else "OW"
    for name, value in elements.items():
        setattr(result, name, value)
    return result


def saved(result: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return buffer.getvalue()


def loaded(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_values_are_exact(dtype, syntax):
    array = stored(dtype)
    content = saved(dataset(array, syntax, Modality="MR"))
    raster = rasters.read(content)
    assert np.array_equal(raster.values[..., 0], array)
    assert raster.values.dtype == dtype
    assert not raster.unit
    header = rasters.header(content)
    assert (header.kind, header.size, header.bands, header.pages) == ("dicom", (6, 5), 1, 1)
    assert header.dtype == dtype


@pytest.mark.parametrize("color", [False, True])
def test_run_length_coded(color):
    array = stored("uint8", (5, 6, 3)) if color else stored()
    result = dataset(array)
    result.compress(RLELossless, generate_instance_uid=False)
    raster = rasters.read(saved(result))
    assert np.array_equal(raster.values, array.reshape(5, 6, -1))


def test_color_with_planes():
    array = stored("uint8", (5, 6, 3))
    planes = np.moveaxis(array, -1, 0).copy()
    result = dataset(array, PlanarConfiguration=1)
    result.PixelData = planes.tobytes()
    raster = rasters.read(saved(result))
    assert np.array_equal(raster.values, array)
    written = loaded(rasters.encode(raster.values, raster, ".dcm"))
    assert np.array_equal(written.pixel_array, array)


@pytest.mark.parametrize(
    ("dtype", "bits", "slope", "intercept", "expected"),
    [
        ("uint16", 12, 1, -1024, "int16"),
        ("uint16", 16, 1, -1024, "int32"),
        ("int16", 16, 1, 0, "int16"),
        ("int16", 16, 2, 0, "int32"),
        ("uint16", 12, 0.5, 0, "float32"),
    ],
)
def test_hounsfield_units(dtype, bits, slope, intercept, expected):
    array = stored(dtype)
    elements = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    content = saved(dataset(array, bits=bits, **elements))
    raster = rasters.read(content)
    reference = apply_rescale(loaded(content).pixel_array, loaded(content))
    assert np.array_equal(raster.values[..., 0], reference.astype(expected))
    assert raster.values.dtype == expected == rasters.header(content).dtype
    assert raster.unit == "HU"
    written = rasters.encode(raster.values, pickle.loads(pickle.dumps(raster)), ".dcm")
    assert np.array_equal(loaded(written).pixel_array, array)
    assert np.array_equal(rasters.read(written).values, raster.values)


def test_slices_of_one_series_become_one_new_series_of_their_maker():
    one, two, other = (dataset(stored()) for _ in range(3))
    two.SeriesInstanceUID = one.SeriesInstanceUID

    def series(original, maker) -> str:
        raster = rasters.read(saved(original))
        return loaded(rasters.encode(raster.values, raster, ".dcm", maker)).SeriesInstanceUID

    assert series(one, "m") == series(two, "m")
    assert len({one.SeriesInstanceUID, *(series(one, maker) for maker in "mn")}) == 3
    assert series(other, "m") != series(one, "m")


def test_what_is_written_is_marked_as_derived_and_nothing_else_changes():
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40}
    original = dataset(stored(), bits=12, **elements)
    raster = rasters.read(saved(original))
    written = loaded(rasters.encode(raster.values + 1, raster, ".dcm"))
    assert list(written.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert written.DerivationDescription == "Translated by img2img"
    assert written.SOPInstanceUID != original.SOPInstanceUID
    assert written.file_meta.MediaStorageSOPInstanceUID == written.SOPInstanceUID
    changed = {"ImageType", "DerivationDescription", "SOPInstanceUID", "SeriesInstanceUID"}
    changed |= {"PixelData"}
    for element in original:
        if element.keyword not in changed:
            assert written[element.tag].value == element.value, element.keyword
    assert {e.keyword for e in written} - {e.keyword for e in original} == {"DerivationDescription"}
    results = apply_rescale(written.pixel_array, written)
    assert np.array_equal(results, raster.values[..., 0] + 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_integers_beyond_the_stored_range_are_written_with_another_slope(dtype):
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    raster = rasters.read(saved(dataset(stored(), bits=12, **elements)))
    info = np.iinfo(dtype)
    values = np.full((5, 6, 1), info.max, dtype)
    values[0] = info.min
    written = rasters.encode(values, raster, ".dcm")
    assert np.array_equal(rasters.read(written).values, values)
    reference = apply_rescale(loaded(written).pixel_array, loaded(written))
    assert np.array_equal(reference, values[..., 0])


def test_float_results_are_rounded_to_the_steps_of_the_file():
    elements = {"RescaleSlope": 0.5, "RescaleIntercept": 10, "Units": "BQML"}
    raster = rasters.read(saved(dataset(stored(), bits=12, **elements)))
    assert raster.unit == "BQML"
    values = np.full((5, 6, 1), 20.2, np.float32)
    assert np.all(rasters.read(rasters.encode(values, raster, ".dcm")).values == 20)
    with pytest.raises(DataError, match=r"out of the range .* 10\.0 to 2057\.5"):
        rasters.encode(values + 3000, raster, ".dcm")
    with pytest.raises(DataError, match="not finite"):
        rasters.encode(values * np.nan, raster, ".dcm")


def test_padding_is_nodata():
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelPaddingValue": 0}
    array = stored(most=100)
    array[1, 2] = 0
    raster = rasters.read(saved(dataset(array, bits=12, **elements)))
    assert raster.nodata == -1024
    assert np.array_equal(raster.missing, array == 0)
    written = loaded(rasters.encode(raster.values, raster, ".dcm"))
    assert written.PixelPaddingValue == 0
    shifted = raster.values.astype(np.int16)
    shifted[0, 0] = 20000
    written = loaded(rasters.encode(shifted, raster, ".dcm"))
    assert (written.PixelPaddingValue, written.RescaleIntercept) == (-1024, 0)


def test_monochrome1_is_inverted_and_written_as_monochrome2():
    array = stored()
    elements = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 100}
    raster = rasters.read(saved(dataset(array, bits=12, **elements)))
    assert np.array_equal(raster.values[..., 0], 4095 - array)
    assert "inverted" in raster.notes[0]
    written = loaded(rasters.encode(raster.values, raster, ".dcm"))
    assert written.PhotometricInterpretation == "MONOCHROME2"
    assert np.array_equal(written.pixel_array, 4095 - array)
    assert written.WindowCenter == 4095 - 100


def test_monochrome1_with_units_is_not_inverted():
    elements = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2}
    raster = rasters.read(saved(dataset(stored(), bits=12, RescaleIntercept=0, **elements)))
    assert np.array_equal(raster.values[..., 0], stored().astype(int) * 2)
    assert "darker" in raster.notes[0]
    written = loaded(rasters.encode(raster.values, raster, ".dcm"))
    assert written.PhotometricInterpretation == "MONOCHROME1"


def test_one_bit():
    array = stored("uint8", (2, 5, 6)) % 2
    result = dataset(array, bits=1, BitsAllocated=1, Modality="SEG")
    result.PixelData = pydicom.pixels.pack_bits(array)
    raster = rasters.read(saved(result), 1)
    assert np.array_equal(raster.values[..., 0], array[1])
    written = rasters.read(rasters.encode(raster.values, raster, ".dcm"))
    assert np.array_equal(written.values, raster.values)


@pytest.mark.parametrize("signed", [False, True])
def test_frames(signed):
    array = stored("int16" if signed else "uint16", (4, 5, 6))
    content = saved(dataset(array, Modality="XA"))
    assert rasters.header(content).pages == 4
    pages = [rasters.read(content, page) for page in range(4)]
    for page, raster in enumerate(pages):
        assert np.array_equal(raster.values[..., 0], array[page])
    whole = loaded(rasters.encode(np.stack([p.values for p in pages]), pages[0], ".dcm"))
    assert np.array_equal(whole.pixel_array, array)
    one = loaded(rasters.encode(pages[2].values, pages[2], ".dcm"))
    assert one.NumberOfFrames == 1
    assert np.array_equal(one.pixel_array, array[2])
    with pytest.raises(DataError, match="no frame 4"):
        rasters.read(content, 4)
    with pytest.raises(DataError, match="neither one nor all 4"):
        rasters.encode(np.stack([pages[0].values] * 2), pages[0], ".dcm")


def test_slope_of_each_frame():
    array = stored(shape=(3, 5, 6), most=1000)
    result = dataset(array, bits=12)
    groups = []
    for frame in range(3):
        transformation, group = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = frame + 1, -frame
        transformation.RescaleType = "HU"
        group.PixelValueTransformationSequence = [transformation]
        groups.append(group)
    result.PerFrameFunctionalGroupsSequence = groups
    content = saved(result)
    pages = [rasters.read(content, page) for page in range(3)]
    for frame, raster in enumerate(pages):
        assert np.array_equal(raster.values[..., 0], array[frame].astype(int) * (frame + 1) - frame)
    assert pages[0].unit == "HU"
    one = rasters.read(rasters.encode(pages[2].values, pages[2], ".dcm"))
    assert np.array_equal(one.values, pages[2].values)
    values = np.stack([p.values.astype(np.int16) for p in pages])
    whole = rasters.encode(values, pages[0], ".dcm")
    assert np.array_equal(rasters.read(whole, 2).values, pages[2].values)


def test_what_is_not_read_is_refused_with_the_reason():
    result = dataset(stored())
    del result.PixelData, result.Rows
    with pytest.raises(DataError, match="no picture"):
        rasters.read(saved(result))
    result = dataset(stored())
    del result.PixelData
    with pytest.raises(DataError, match="its pixels, or what describes them, are missing"):
        rasters.read(saved(result))
    result = dataset(stored("uint8"), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(DataError, match="palette"):
        rasters.read(saved(result))
    result = dataset(stored("uint8"))
    result.file_meta.TransferSyntaxUID = JPEG2000Lossless
    result.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
    result["PixelData"].VR = "OB"
    with pytest.raises(DataError, match=r"JPEG 2000 .* gdcmconv --raw"):
        rasters.read(saved(result))
    result = dataset(stored(), SOPClassUID=UID("1.2.840.10008.1.3.10"))
    with pytest.raises(DataError, match="DICOMDIR"):
        rasters.read(saved(result))
    with pytest.raises(DataError, match="only for values that were read from DICOM"):
        rasters.encode(np.zeros((5, 6, 1), np.uint8), None, ".dcm")
    raster = rasters.read(saved(dataset(stored())))
    with pytest.raises(DataError, match="geometry"):
        rasters.encode(raster.values[1:], raster, ".dcm")


def test_a_dicom_that_is_a_tiff_too_is_read_as_dicom():
    content = bytearray(saved(dataset(stored())))
    content[:8] = b"II*\0\x54\x18\x08\0"
    assert rasters.header(bytes(content)).kind == "dicom"
    assert np.array_equal(rasters.read(bytes(content)).values[..., 0], stored())


REAL = ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"]


@pytest.mark.parametrize("name", [*REAL, "rtdose.dcm", "examples_rgb_color.dcm"])
def test_files_of_scanners(name):
    """That pydicom brings."""
    path = Path(pydicom.data.get_testdata_file(name, download=False))
    raster, header = rasters.read(path), rasters.header(path)
    several = header.pages > 1
    reference = pydicom.pixels.pixel_array(path, index=0 if several else None)
    reference = apply_rescale(reference, pydicom.dcmread(path))
    assert np.array_equal(raster.values, reference.reshape(raster.values.shape))
    written = rasters.read(rasters.encode(raster.values, raster, ".dcm"))
    assert np.array_equal(written.values, raster.values)
    assert header.dtype == raster.values.dtype.name


def test_large_and_deflated_files_are_refused_before_they_are_decoded():
    result = dataset(stored(), Rows=60000, Columns=60000)
    with pytest.raises(TooLarge):
        rasters.read(saved(result))
    result = dataset(stored(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(DataError, match="Deflated"):
        rasters.header(saved(result))


def test_truncated_at_every_byte():
    content = saved(dataset(stored(shape=(3, 4))))
    assert rasters.read(content).values.shape == (3, 4, 1)
    for length in range(len(content)):
        with pytest.raises(DataError):
            rasters.read(content[:length])


def test_changed_bytes_raise_no_other_error():
    content = saved(dataset(stored(shape=(3, 4)), bits=12, RescaleSlope=1, RescaleIntercept=-9))
    for at in range(132, len(content), 2):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        with contextlib.suppress(DataError):
            raster = rasters.read(bytes(changed))
            rasters.encode(raster.values, raster, ".dcm")
