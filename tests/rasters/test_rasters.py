"""The package as others use it: recognition of files, messages, and what is imported."""

import gzip
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img import rasters
from img2img.errors import DataError
from img2img.formats import TooLarge


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["a.tif", "A.TIFF", "b.npy", "c.npz", "d.png", "e.dcm", "f.nii.gz"]
)
def test_names_of_rasters(name):
    assert rasters.is_raster_name(Path("folder") / name)


@pytest.mark.parametrize("name", ["a.jpg", "b.gz", "tif", "c.txt", "d.webp"])
def test_other_names(name):
    assert not rasters.is_raster_name(Path(name))


def test_suffixes():
    assert rasters.raster_suffix(Path("a.b.NII.GZ")) == ".nii.gz"
    assert rasters.raster_suffix(Path("a.TIF")) == ".tif"


def test_the_suffix_by_the_content():
    values = np.zeros((4, 4, 1), np.uint16)
    for suffix in (".tif", ".npy", ".npz", ".png"):
        assert rasters.suffix_of(rasters.encode(values, None, suffix)) == suffix
    assert rasters.suffix_of(bytes(128) + b"DICM" + bytes(400)) == ".dcm"
    nifti = bytes(344) + b"n+1\0" + bytes(200)
    assert rasters.suffix_of(nifti) == ".nii"
    assert rasters.suffix_of(gzip.compress(nifti)) == ".nii.gz"
    assert rasters.suffix_of(b"\xff\xd8\xff" + bytes(99)) is None
    assert rasters.suffix_of(gzip.compress(nifti)[:12] + b"damaged") is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "GIF"])
def test_other_pictures_are_none(kind, tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.tif", kind)
    assert rasters.header(tmp_path / "a.tif") is None
    with pytest.raises(DataError, match="not a file of values"):
        rasters.read(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"", b"x", b"PK\3\4", b"\x1f\x8b\x08", b"II", bytes(1000)])
def test_nothing_is_none(content):
    assert rasters.header(content) is None
    with pytest.raises(DataError):
        rasters.read(content)


def test_messages_begin_with_the_name_and_end_with_one_period(tmp_path):
    path = tmp_path / "a.npy"
    with pytest.raises(DataError) as caught:
        rasters.read(path)
    assert str(caught.value) == f"{path}: there is no such file."
    with pytest.raises(DataError, match="can't be read"):
        rasters.read(tmp_path)
    path.write_bytes(npy(np.zeros((9, 9), np.uint8))[:-3])
    with pytest.raises(DataError) as caught:
        rasters.read(path)
    assert str(caught.value) == f"{path}: the file is truncated: 3 of 81 bytes are missing."
    with pytest.raises(TooLarge) as caught:
        rasters.read(npy(np.zeros((9, 9))), max_pixels=80)
    assert str(caught.value) == (
        "the picture: 9x9 is more than the limit of 80 pixels (translate has --max-pixels to "
        "raise it)."
    )
    with pytest.raises(DataError, match=r"it has no page 1, only 0\.$"):
        rasters.read(npy(np.zeros((9, 9))), 1)


@pytest.mark.parametrize(
    ("values", "suffix", "reason"),
    [
        (np.zeros((3, 3)), ".tif", "not a picture"),
        (np.zeros((3, 3, 1)), ".tif", "float64"),
        (np.zeros((0, 3, 1), "u1"), ".tif", "not a picture"),
        (np.zeros((3, 3, 1), "u1"), ".jpg", r"\.jpg is not written"),
        (np.zeros((2, 3, 3, 1), "u1"), ".npy", "holds one page, not 2"),
    ],
)
def test_what_can_not_be_written(values, suffix, reason):
    with pytest.raises(DataError, match=reason):
        rasters.encode(values, None, suffix)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".tif"])
def test_metadata_of_another_format_is_left_out(suffix):
    pytest.importorskip("tifffile")
    values = np.arange(12, dtype=np.uint16).reshape(3, 4, 1)
    for first in (".npy", ".png", ".tif"):
        raster = rasters.read(rasters.encode(values, None, first))
        assert np.array_equal(rasters.read(rasters.encode(values, raster, suffix)).values, values)


def test_big_endian_values_are_written():
    pytest.importorskip("tifffile")
    values = np.arange(12, dtype=">u2").reshape(3, 4, 1)
    for suffix in (".npy", ".png", ".tif"):
        assert np.array_equal(rasters.read(rasters.encode(values, None, suffix)).values, values)


def test_decoders_are_imported_only_for_their_files():
    heavy = "('tifffile', 'imagecodecs', 'pydicom', 'nibabel', 'rasterio', 'cv2', 'torch')"
    script = f"import sys, img2img.rasters; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "extra"), [("tifffile", "science"), ("pydicom", "medical"), ("nibabel", "medical")]
)
def test_missing_packages_are_named(package, extra, tmp_path):
    path = tmp_path / "a.bin"
    if package == "tifffile":
        path.write_bytes(rasters.encode(np.zeros((3, 3, 1), np.uint16), None, ".tif"))
    elif package == "pydicom":
        path.write_bytes(bytes(128) + b"DICM" + bytes(100))
    else:
        path.write_bytes(bytes(344) + b"n+1\0" + bytes(100))
    script = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from pathlib import Path; from img2img import rasters\n"
        "from img2img.errors import DataError\n"
        "for function in (rasters.header, rasters.read):\n"
        "    try: function(Path(sys.argv[1]))\n"
        "    except DataError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        assert line.startswith(f"{path}: ")
        assert line.endswith(
            f"needs another package. Install it with: pip install 'img2img-gan[{extra}]'"
        )
    assert len(done.stdout.splitlines()) == 2


def test_8_bit_photographs_need_no_tifffile(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.tif")
    script = (
        "import sys; sys.modules['tifffile'] = None\n"
        "from pathlib import Path; from img2img import rasters\n"
        "print(rasters.header(Path(sys.argv[1])).is_photograph)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.tif")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
