"""NIfTI, written and read by nibabel on the other side."""

import contextlib
import gzip
import io
import pickle

import numpy as np
import pytest

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-0.8, 0.1, 0, 90], [0, 0.9, 0.2, -126], [0, -0.1, 2.5, -72], [0, 0, 0, 1.0]])


def volume(dtype="int16", shape=(6, 5, 4)):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.iinfo("int16")
    low, high = max(info.min, -(2**31)), min(info.max, 2**31 - 1)
    return np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(dtype)


def saved(array, kind=None, packed=False, slope=None, intercept=None) -> bytes:
    image = (kind or nibabel.Nifti1Image)(array, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    content = image.to_bytes()
    if slope is not None:  # nibabel computes others when it writes
        header = type(image.header).from_fileobj(io.BytesIO(content))
        header["scl_slope"], header["scl_inter"] = slope, intercept
        start = int(header["vox_offset"])
        raw = np.asfortranarray(array).tobytes(order="F")
        content = header.binaryblock + content[len(header.binaryblock) : start] + raw
    return gzip.compress(content) if packed else content


def loaded(content: bytes):
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    kind = nibabel.Nifti2Image if content[4:8] == b"n+2\0" else nibabel.Nifti1Image
    return kind.from_bytes(content)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "float32"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_slices_are_exact(dtype, packed):
    array = volume(dtype)
    content = saved(array, packed=packed)
    header = rasters.header(content)
    assert (header.kind, header.size, header.bands, header.pages) == ("nifti", (6, 5), 1, 4)
    for page in range(4):
        raster = rasters.read(content, page)
        assert np.array_equal(raster.values[..., 0], array[:, :, page].T)
        assert raster.values.dtype.name == header.dtype
        assert raster.values.flags.c_contiguous


def test_big_endian():
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype("int16")
    content = nibabel.Nifti1Image(volume(), AFFINE, header).to_bytes()
    assert content[:4] == b"\0\0\1\x5c"
    raster = rasters.read(content, 1)
    assert np.array_equal(raster.values[..., 0], volume()[:, :, 1].T)
    assert raster.values.dtype.isnative
    written = rasters.encode(raster.values, raster, ".nii")
    assert np.array_equal(rasters.read(written).values, raster.values)
    assert np.array_equal(loaded(written).get_fdata()[:, :, 0].T, raster.values[..., 0])


def test_float64_is_rounded_with_a_note():
    array = np.random.default_rng(0).normal(size=(6, 5, 4))
    raster = rasters.read(saved(array), 1)
    assert np.array_equal(raster.values[..., 0], array[:, :, 1].T.astype(np.float32))
    assert "float32" in raster.notes[0]


def test_version_2_and_time_and_two_axes():
    array = volume(shape=(6, 5, 4, 3))
    content = saved(array, nibabel.Nifti2Image)
    assert rasters.header(content).pages == 12
    assert np.array_equal(rasters.read(content, 9).values[..., 0], array[:, :, 1, 2].T)
    flat = volume(shape=(6, 5))
    assert np.array_equal(rasters.read(saved(flat)).values[..., 0], flat.T)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype"),
    [
        ("uint8", 2, -1024, "int16"),
        ("int16", 1, -1024, "int32"),
        ("uint16", 1, -1024, "int32"),
        ("int16", 0.5, 3, "float32"),
        ("float32", 2, 1, "float32"),
        ("int16", 0, 0, "int16"),
    ],
)
def test_slope_and_intercept_are_applied(stored, slope, intercept, dtype):
    array = volume(stored)
    content = saved(array, slope=slope, intercept=intercept)
    raster = rasters.read(content, 2)
    assert raster.values.dtype.name == dtype == rasters.header(content).dtype
    expected = loaded(content).get_fdata()[:, :, 2].T
    assert np.array_equal(raster.values[..., 0], expected.astype(dtype))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 3), (6, 5)])
@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_all_slices_are_written_with_the_geometry(suffix, shape, kind):
    array = volume(shape=shape)
    content = saved(array, getattr(nibabel, kind), slope=1, intercept=0)
    pages = [rasters.read(content, page) for page in range(rasters.header(content).pages)]
    values = np.stack([raster.values for raster in pages])
    written = rasters.encode(values, pickle.loads(pickle.dumps(pages[0])), suffix)
    assert written.startswith(b"\x1f\x8b") == (suffix == ".nii.gz")
    image = loaded(written)
    assert np.array_equal(np.asarray(image.dataobj), array)
    assert image.get_data_dtype() == array.dtype
    original = loaded(content)
    assert np.array_equal(image.affine, original.affine)
    assert image.header.get_zooms() == original.header.get_zooms()
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert type(image).__name__ == kind
    again = rasters.read(written, len(pages) - 1)
    assert np.array_equal(again.values, pages[-1].values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_a_slice_is_written_at_its_position(dtype):
    content = saved(volume())
    raster = rasters.read(content, 3)
    values = raster.values.astype(dtype)
    image = loaded(rasters.encode(values, raster, ".nii"))
    assert np.array_equal(np.asarray(image.dataobj)[:, :, 0].T, values[..., 0])
    assert image.get_data_dtype() == dtype
    corner = AFFINE @ [0, 0, 3, 1]
    assert np.allclose(image.affine[:3, 3], corner[:3], atol=1e-4)
    assert np.allclose(image.affine[:3, :3], AFFINE[:3, :3], atol=1e-5)


def test_extensions_are_carried():
    image = nibabel.Nifti1Image(volume(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"scanner 7"))
    raster = rasters.read(image.to_bytes(), 0)
    written = loaded(rasters.encode(raster.values, raster, ".nii"))
    [extension] = written.header.extensions
    assert extension.get_content().rstrip(b"\0") == b"scanner 7"


def test_what_does_not_fit_the_geometry_is_refused():
    raster = rasters.read(saved(volume()), 0)
    with pytest.raises(DataError, match="geometry"):
        rasters.encode(raster.values[:-1], raster, ".nii")
    with pytest.raises(DataError, match="geometry"):
        rasters.encode(np.repeat(raster.values, 3, -1), raster, ".nii")
    with pytest.raises(DataError, match="neither one nor all 4"):
        rasters.encode(np.stack([raster.values] * 3), raster, ".nii")
    with pytest.raises(DataError, match="only for slices that were read from NIfTI"):
        rasters.encode(raster.values, None, ".nii")


def test_hostile_headers():
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 2))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with pytest.raises(TooLarge):
        rasters.read(header.binaryblock + bytes(100))
    header.set_data_shape((3, 3, 2))
    for offset in (np.nan, -5, 1e30, 0):
        header["vox_offset"] = offset
        with pytest.raises(DataError, match="position"):
            rasters.read(header.binaryblock + bytes(100))
    header["vox_offset"], header["magic"] = 352, b"ni1"
    with pytest.raises(DataError, match=r"pair of \.hdr and \.img"):
        rasters.read(header.binaryblock + bytes(100))
    with pytest.raises(DataError, match="no slice 4"):
        rasters.read(saved(volume()), 4)
    with pytest.raises(DataError, match="complex"):
        rasters.read(saved(np.zeros((3, 3, 2), np.complex64)))
    with pytest.raises(DataError, match="axes"):
        rasters.read(saved(np.zeros((3, 3, 2, 2, 2), np.uint8)))


def test_truncated_at_every_byte():
    content = saved(volume(shape=(3, 3, 1)))
    for length in range(len(content)):
        with pytest.raises(DataError):
            rasters.read(content[:length], 0)
    content = gzip.compress(content)
    for length in range(len(content) - 12):  # the last block's end and the checksum are behind
        with pytest.raises(DataError):
            rasters.read(content[:length], 0)


def test_changed_headers_raise_no_other_error():
    content = saved(volume(shape=(3, 3, 2)))
    for at in range(352):
        for value in (0, 0x7F, 0xFF):
            changed = bytearray(content)
            changed[at] = value
            with contextlib.suppress(DataError):
                raster = rasters.read(bytes(changed), 0)
                rasters.encode(raster.values, raster, ".nii")
