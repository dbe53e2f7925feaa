"""Damaged files of every format are refused by DataErrors alone, whole and in parts."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from img2img import rasters
from img2img.box import Box
from img2img.errors import DataError
from img2img.rasters import windows

tifffile = pytest.importorskip("tifffile")
nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
VALUES = (np.arange(64 * 48 * 3).reshape(64, 48, 3) % 251).astype(np.uint16)
LONGEST = 10.0  # seconds for a file
SOME, MANY = 150, 20_000  # mutations of each seed, in every run and with -m slow


def tiff(**options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, VALUES, photometric="minisblack", **options)
    return buffer.getvalue()


def dicom() -> bytes:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = 64, 48, 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = VALUES[..., 0].tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    return buffer.getvalue()


SEEDS: dict[str, Callable[[], bytes]] = {
    "plain.tif": tiff,
    "tiles.tif": lambda: tiff(tile=(16, 16), compression="zlib", predictor=True),
    "lzw.tif": lambda: tiff(rowsperstrip=7, compression="lzw"),
    "planes.ome.tif": lambda: tiff(planarconfig="separate", metadata={"axes": "YXS"}),
    "big.tif": lambda: tiff(bigtiff=True, byteorder=">"),
    "array.npy": npy,
    "array.npz": lambda: rasters.encode(VALUES, None, ".npz"),
    "deep.png": lambda: rasters.encode(VALUES, None, ".png"),
    "volume.nii": lambda: nibabel.Nifti1Image(VALUES.astype(np.int16), np.eye(4)).to_bytes(),
    "slice.dcm": dicom,
}


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, with bytes replaced, or with numbers of a header replaced by large ones."""
    changed = bytearray(content)
    kind = random.integers(4)
    if kind == 0:
        return bytes(changed[: random.integers(len(changed))])
    near_header = min(len(changed), 600) if kind > 1 else len(changed)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(near_header))
        if kind == 3:
            changed[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x7f"])
        else:
            changed[at] = random.integers(256)
    return bytes(changed)


def mutations(name: str, count: int) -> Iterator[bytes]:
    content = SEEDS[name]()
    for seed in range(count):
        yield damaged(content, np.random.default_rng([seed, len(name)]))


def require_refused(name: str, content: bytes, tmp_path) -> None:
    """Read it in all ways. Any error but DataError is raised."""
    began = time.monotonic()
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        rasters.header(path)
    with contextlib.suppress(DataError):
        rasters.read(path, 0, max_pixels=100_000)
    if path.suffix in windows.SUFFIXES:
        with contextlib.suppress(DataError), windows.opened(path) as page:
            height, width = page.shape
            page.read(Box(0, min(height, 40), 0, min(width, 40)))
    assert time.monotonic() - began < LONGEST


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_read(name, tmp_path):
    """Otherwise its mutations would test little."""
    (tmp_path / name).write_bytes(SEEDS[name]())
    assert rasters.read(tmp_path / name).values.shape[0] in (48, 64)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_refused(name, tmp_path):
    for content in mutations(name, SOME):
        require_refused(name, content, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_many_damaged_files_are_refused(name, tmp_path):
    for content in mutations(name, MANY):
        require_refused(name, content, tmp_path)
