"""NumPy's files: exact values of any layout, and nothing that is unpickled or too large."""

import io
import struct
import zipfile

import numpy as np
import pytest

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge


def saved(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def zipped(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def values(shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", ">u2", ">f4"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 12)])
def test_values_and_types_are_exact(shape, dtype):
    array = values(shape, dtype)
    raster = rasters.read(saved(array))
    header = rasters.header(saved(array))
    assert np.array_equal(raster.values, array.reshape(5, 7, -1))
    assert raster.values.dtype == np.dtype(dtype).newbyteorder("=")
    assert (header.kind, header.size, header.bands) == ("npy", (7, 5), array[0, 0].size)
    assert header.dtype == raster.values.dtype.name
    assert raster.values.flags.c_contiguous
    assert not raster.notes


def test_fortran_order():
    array = np.asfortranarray(values((5, 7, 3)))
    assert np.array_equal(rasters.read(saved(array)).values, array)


def test_few_bands_in_front_of_long_axes_are_moved_to_the_end():
    array = values((4, 20, 30))
    raster = rasters.read(saved(array))
    assert np.array_equal(raster.values, np.moveaxis(array, 0, -1))
    assert "[bands, height, width]" in raster.notes[0]
    assert rasters.read(saved(values((20, 30, 12)))).values.shape == (20, 30, 12)
    assert rasters.read(saved(values((10, 20, 3)))).values.shape == (10, 20, 3)


@pytest.mark.parametrize("names", [["x"], ["arr_0", "y"], ["image", "arr_0"]])
def test_npz_with_one_array_or_a_known_name(names):
    arrays = {name: values((5, 7)) + i for i, name in enumerate(names)}
    raster = rasters.read(zipped(**arrays))
    assert np.array_equal(raster.values[..., 0], arrays[names[0]])
    assert rasters.header(zipped(**arrays)).kind == "npz"


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("bands", [1, 3, 7])
def test_what_is_written_is_what_numpy_reads(suffix, dtype, bands):
    array = values((5, 7, bands), dtype)
    content = rasters.encode(array, None, suffix)
    loaded = np.load(io.BytesIO(content))
    loaded = loaded["image"] if suffix == ".npz" else loaded
    assert np.array_equal(loaded, array[..., 0] if bands == 1 else array)
    assert loaded.dtype == array.dtype
    assert np.array_equal(rasters.read(content).values, array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (saved(np.array([["a", {}]], object), allow_pickle=True), "objects"),
        (saved(np.zeros((3, 3), [("a", "u1")])), "records"),
        (saved(np.zeros((3, 3), complex)), "complex"),
        (saved(np.zeros((3, 3), "U4")), "not read"),
        (saved(np.zeros(5)), r"shape \(5,\)"),
        (saved(np.zeros((2, 3, 4, 5))), "is not a picture"),
        (saved(np.zeros((0, 4))), "not valid"),
        (saved(np.zeros((3, 4), "int64") + 2**40), f"from {2**40} to {2**40}"),
        (zipped(a=np.zeros((3, 3)), b=np.zeros((3, 3))), "arrays a, b"),
    ],
)
def test_what_is_not_a_picture_is_refused_with_the_reason(content, reason):
    with pytest.raises(DataError, match=reason):
        rasters.read(content)


def test_a_large_shape_is_refused_before_it_is_allocated():
    for shape in (b"(900000, 900000), }", b"(10, 10, 99999999), }"):
        text = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape
        text = text.ljust(117) + b"\n"
        huge = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text
        with pytest.raises(TooLarge):
            rasters.read(huge)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("image.npy", huge + bytes(10**7))
        with pytest.raises(TooLarge):
            rasters.read(buffer.getvalue())


def test_a_header_of_four_gigabytes_is_not_read():
    with pytest.raises(DataError, match="version"):
        rasters.read(b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(100))


def test_other_zip_files_are_none_of_this_package():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("letter.txt", "dear")
    assert rasters.header(buffer.getvalue()) is None


@pytest.mark.parametrize("content", [saved(values((4, 5))), zipped(image=values((4, 5)))])
def test_truncated_at_every_byte(content):
    for length in range(len(content)):
        with pytest.raises(DataError):
            rasters.read(content[:length])
