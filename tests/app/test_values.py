"""The HTTP interface for models of values: files of other writers come back exactly, and what is
hostile or too large is refused.
"""

import base64
import gzip
import io
import struct
import time
import zipfile

import numpy as np
import pytest
import tifffile
from bundles import make_between, make_bundle, make_identity
from PIL import Image
from starlette.testclient import TestClient

from img2img import rasters
from img2img.app import values
from img2img.app.api import Limits, create_app
from img2img.app.models import Models
from img2img.app.parameters import Parameters
from img2img.data.intensities import RESERVED, names_of_inputs
from img2img.intensity import Intensity, stacked

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

LIMITS = Limits(max_bytes=200_000, max_pixels=4096, max_decoded=10_000, seconds=20, waiting=4)
RANDOM = np.random.default_rng(0)
AFFINE = np.diag([0.8, 0.9, 2.5, 1.0])
PLACE = [
    (33550, "d", 3, (30.0, 30.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True),
]


def of(dtype: str, bands: int = 1, high: float = 1000.0, **more) -> Intensity:
    names = tuple(str(band + 1) for band in range(bands))
    return Intensity(dtype=dtype, bands=names, low=(-high,) * bands, high=(high,) * bands, **more)


SEVERAL = stacked([of("uint16", 2, name="optical"), of("float32", name="sar")])
FOLDERS = ("sentinel-1", "07 north/tif", "Überflug; Å=1", "x/format")
NAMED = stacked([of("float32", name=name) for name in FOLDERS])
MODELS = {
    **{dtype: (of(dtype), of(dtype)) for dtype in ("uint8", "uint16", "int16", "int32")},
    "float32": (of("float32"), of("float32")),
    "bands": (of("uint16", 5), of("uint16", 5)),
    "map": (of("int16", nodata=-9999.0), of("int16", nodata=-9999.0)),
    "several": (SEVERAL, of("float32", 3)),
    "named": (NAMED, of("float32", len(FOLDERS))),
    "depth": (None, of("float32", 3)),
    "seen": (of("uint8", 3), None),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = [
        make_between(folder / f"{name}.onnx", *sides, name=name) for name, sides in MODELS.items()
    ]
    paths.append(make_bundle(folder / "photographs.onnx", name="photographs"))
    with TestClient(create_app(Models(map(str, paths), "cpu"), LIMITS)) as client:
        yield client


def drawn(dtype: str, *shape: int) -> np.ndarray:
    low = -1000 if dtype in ("int16", "int32", "float32") else 0
    return RANDOM.uniform(low, 255 if dtype == "uint8" else 1000, shape).astype(dtype)


def written(save, *arguments, **options) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arguments, **options)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    """[H, W], or [H, W, bands] unless other options say what the axes are."""
    if array.ndim == 3 and not options.get("ome"):
        options["planarconfig"] = "contig"
    return written(tifffile.imwrite, array, photometric="minisblack", **options)


def read_tiff(content: bytes) -> np.ndarray:
    return tifffile.imread(io.BytesIO(content))


def dicom(array: np.ndarray, **more) -> bytes:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    data.Modality, data.PatientName, data.PixelSpacing = "CT", "Doe^Jane", [0.7, 0.8]
    if array.ndim == 3:
        data.NumberOfFrames = len(array)
    data.Rows, data.Columns, data.SamplesPerPixel = *array.shape[-2:], 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.update(more)
    data.PixelData = array.tobytes()
    return written(lambda file: pydicom.dcmwrite(file, data, enforce_file_format=True))


def ask(client: TestClient, model: str, content: bytes, **query):
    return client.post("/v1/translate", params={"model": model, **query}, content=content)


def detail(answer) -> str:
    assert answer.status_code < 500
    return answer.json()["detail"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_arrays_and_tiffs_come_back_exactly_in_their_format(client, dtype):
    array = drawn(dtype, 9, 7)
    answer = ask(client, dtype, written(np.save, array))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="translated.npy"'
    result = np.load(io.BytesIO(answer.content))
    assert (result.dtype, np.array_equal(result, array)) == (array.dtype, True)
    answer = ask(client, dtype, tiff(array))
    assert answer.headers["content-type"] == "image/tiff"
    result = read_tiff(answer.content)
    assert (result.dtype, np.array_equal(result, array)) == (array.dtype, True)


def test_a_map_keeps_its_place_and_its_missing_pixels(client):
    array = drawn("int16", 12, 10)
    array[3, 4] = -9999
    content = tiff(array, extratags=[*PLACE, (42113, "s", 0, "-9999", True)])
    answer = ask(client, "map", content)
    assert np.array_equal(read_tiff(answer.content), array)
    with tifffile.TiffFile(io.BytesIO(answer.content)) as file:
        tags = file.pages[0].tags
        assert all(tags[code].value == value for code, _, _, value, _ in PLACE)
        assert tags[42113].value.strip("\0 ") == "-9999"


def test_channels_and_pixel_size_of_ome_come_back(client):
    array = drawn("uint16", 5, 12, 10)
    described = {"axes": "CYX", "Channel": {"Name": list("abcde")}, "PhysicalSizeX": 0.25}
    answer = ask(client, "bands", tiff(array, metadata=described, ome=True))
    with tifffile.TiffFile(io.BytesIO(answer.content)) as file:
        assert np.array_equal(file.series[0].asarray().reshape(array.shape), array)
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata


def test_dicom_comes_back_marked_as_derived(client):
    array = drawn("int16", 8, 6)
    answer = ask(client, "int16", dicom(array))
    assert answer.headers["content-type"] == "application/dicom"
    result = pydicom.dcmread(io.BytesIO(answer.content))
    assert np.array_equal(result.pixel_array, array)
    assert (result.PatientName, result.PixelSpacing) == ("Doe^Jane", [0.7, 0.8])
    assert result.ImageType[:2] == ["DERIVED", "SECONDARY"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_volume_comes_back_slice_by_slice_with_its_geometry(client, packed):
    volume = drawn("int16", 8, 6, 5)
    content = nibabel.Nifti1Image(volume, AFFINE).to_bytes()
    answer = ask(client, "int16", gzip.compress(content) if packed else content)
    assert answer.headers["content-disposition"].endswith('.nii.gz"' if packed else '.nii"')
    plain = gzip.decompress(answer.content) if packed else answer.content
    result = nibabel.Nifti1Image.from_bytes(plain)
    assert np.array_equal(np.asarray(result.dataobj), volume)
    assert np.allclose(result.affine, AFFINE)  # of float32


def test_frames_of_dicom_come_back_together(client):
    frames = drawn("int16", 3, 8, 6)
    answer = ask(client, "int16", dicom(frames))
    assert np.array_equal(pydicom.dcmread(io.BytesIO(answer.content)).pixel_array, frames)


def test_a_format_of_one_page_is_refused_for_several(client):
    pages = drawn("uint8", 3, 8, 6, 3)
    sent = written(tifffile.imwrite, pages, photometric="rgb", metadata=None)
    assert np.array_equal(read_tiff(ask(client, "seen", sent).content), pages)
    for format in ("png", "webp", "npy"):
        answer = ask(client, "seen", sent, format=format)
        assert (answer.status_code, "holds one page, not 3" in detail(answer)) == (400, True)


def test_a_deep_png_comes_back_as_png_and_as_what_is_asked_for(client):
    array = drawn("uint16", 9, 7)
    content = written(Image.fromarray(array).save, "PNG")
    answer = ask(client, "uint16", content)
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), array)
    assert np.array_equal(read_tiff(ask(client, "uint16", content, format="tiff").content), array)
    array_file = ask(client, "uint16", content, format="npy").content
    assert np.array_equal(np.load(io.BytesIO(array_file)), array)


def test_an_answer_that_the_format_can_not_hold_becomes_a_tiff(client):
    """Floats of a photograph, which was sent as PNG."""
    photograph = drawn("uint8", 9, 7, 3)
    answer = ask(client, "depth", written(Image.fromarray(photograph).save, "PNG"))
    assert answer.headers["content-type"] == "image/tiff"
    assert np.array_equal(read_tiff(answer.content), photograph.astype(np.float32))
    assert "img2img-clipped" not in answer.headers


def test_a_photograph_of_values_comes_in_any_format(client):
    array = drawn("uint8", 9, 7, 3)
    sent = written(tifffile.imwrite, array, photometric="rgb", extratags=PLACE)
    answer = ask(client, "seen", sent)
    assert np.array_equal(read_tiff(answer.content), array)
    with tifffile.TiffFile(io.BytesIO(answer.content)) as file:
        assert file.pages[0].tags[33550].value == PLACE[0][3]
    answer = ask(client, "seen", sent, format="webp")
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"


def test_the_share_of_clipped_values_is_told(client):
    array = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    answer = ask(client, "uint16", tiff(array))
    assert answer.headers["img2img-clipped"] == "0.4995"
    told = "values beyond the model's range are clipped, 49.95% of them"
    assert answer.headers["img2img-notes"] == told
    within = ask(client, "uint16", tiff(array // 4))
    assert (within.headers["img2img-clipped"], "img2img-notes" in within.headers) == ("0", False)


def test_slices_of_one_series_become_one_series_of_each_model(client):
    series = "1.2.3.4"
    slices = [dicom(drawn("int16", 9, 7), SeriesInstanceUID=series) for _ in range(2)]

    def answered(model: str, content: bytes) -> str:
        answer = ask(client, model, content)
        return pydicom.dcmread(io.BytesIO(answer.content)).SeriesInstanceUID

    first, second = (answered("int16", content) for content in slices)
    assert first == second
    assert len({series, first, answered("map", slices[0])}) == 3


def test_a_form_has_a_file_for_each_input(client):
    optical, sar = drawn("uint16", 9, 7, 2), drawn("float32", 9, 7)
    files = {"sar": ("b.npy", written(np.save, sar)), "optical": ("../My 07.tif", tiff(optical))}
    answer = client.post("/v1/translate", data={"model": "several"}, files=files)
    assert answer.headers["content-disposition"] == 'attachment; filename="My-07.tif"'
    assert np.array_equal(read_tiff(answer.content), np.dstack([optical, sar]))
    other = client.post("/v1/translate?model=several", files={**files, "image": b"x"})
    assert (other.status_code, "no form field 'image'. Known: optical, sar" in detail(other)) == (
        422,
        True,
    )
    missing = client.post("/v1/translate?model=several", files={"optical": files["optical"]})
    assert detail(missing) == "The form has no file in the field `sar`."
    alone = ask(client, "several", tiff(optical))
    assert detail(alone) == (
        "The model has 2 inputs. Send a form with a file in each of the fields optical, sar."
    )
    wrong = {**files, "sar": ("b.npy", written(np.save, optical))}
    answer = client.post("/v1/translate?model=several", files=wrong)
    assert detail(answer) == "sar: 2 bands of uint16, where 1 band of float32 is expected."


def test_json_has_a_file_for_each_input_and_gives_one_back(client):
    optical, sar = drawn("uint16", 9, 7, 2), drawn("float32", 9, 7)
    files = {"optical": tiff(optical), "sar": written(np.save, sar)}
    fields = {name: base64.b64encode(content).decode() for name, content in files.items()}
    asked = {"model": "several", **fields}
    answer = client.post("/v1/translate", json=asked, headers={"Accept": "application/json"})
    assert answer.json()["media_type"] == "image/tiff"
    given = base64.b64decode(answer.json()["image"])
    assert np.array_equal(read_tiff(given), np.dstack([optical, sar]))


@pytest.mark.parametrize("sent", ["files", "json"])
def test_fields_have_the_names_that_folders_have(client, sent):
    arrays = [drawn("float32", 9, 7) for _ in FOLDERS]
    files = {name: written(np.save, array) for name, array in zip(FOLDERS, arrays, strict=True)}
    if sent == "json":
        files = {name: base64.b64encode(content).decode() for name, content in files.items()}
    answer = client.post("/v1/translate?model=named&format=npy", **{sent: files})
    assert answer.status_code == 200, detail(answer)
    assert np.array_equal(np.load(io.BytesIO(answer.content)), np.dstack(arrays))


def test_no_input_has_the_name_of_a_parameter(tmp_path):
    assert set(Parameters.model_fields) <= set(RESERVED)
    names = names_of_inputs([tmp_path / name for name in Parameters.model_fields])
    assert names == tuple(f"{tmp_path.name}/{name}" for name in Parameters.model_fields)


def test_models_tell_what_they_take_and_give(client):
    described = {each["name"]: each for each in client.get("/v1/models").json()}
    [taken] = described["bands"]["inputs"]
    assert (taken["name"], taken["dtype"], taken["photographs"]) == ("image", "uint16", False)
    assert (taken["bands"], taken["high"]) == (list("12345"), [1000.0] * 5)
    assert [each["name"] for each in described["several"]["inputs"]] == ["optical", "sar"]
    assert described["photographs"]["inputs"][0]["photographs"]
    assert described["seen"]["output"]["photographs"]
    assert described["depth"]["output"]["dtype"] == "float32"


SMALL = tiff(np.zeros((4, 4), np.uint16))


@pytest.mark.parametrize(
    ("model", "content", "query", "status", "said"),
    [
        ("uint16", b"no picture", {}, 400, "the picture: not a file of values that is read"),
        ("uint16", tiff(drawn("float32", 4, 4)), {}, 400, "1 band of float32, where 1 band of ui"),
        ("uint16", SMALL, {"format": "webp"}, 400, "`format` is one of png, tiff, npy, and not w"),
        ("float32", SMALL, {"format": "png"}, 400, "`format` is one of tiff, npy, and not png"),
        ("uint16", SMALL, {"max_side": 8}, 400, "`max_side` is for photographs"),
        ("uint16", b"\xff\x0a" + bytes(99), {}, 400, "JPEG XL is not accepted here"),
        ("photographs", tiff(drawn("float32", 4, 4)), {}, 400, "not a photograph"),
        ("uint16", SMALL[:60], {}, 400, "the picture: "),
        ("uint16", bytes(200_001), {}, 413, "larger than 200,000 bytes"),
        ("uint16", tiff(np.zeros((80, 60), np.uint16)), {}, 413, "60x80 is more than 4,096 pix"),
        ("int16", dicom(np.zeros((3, 40, 40), np.int16)), {}, 413, "3 pages of 40x40 is more"),
    ],
)
def test_what_can_not_be_done_is_refused_with_a_reason(client, model, content, query, status, said):
    answer = ask(client, model, content, **query)
    assert (answer.status_code, said in detail(answer)) == (status, True), answer.text
    assert ask(client, "uint16", SMALL).status_code == 200


def npy_of(shape: str) -> bytes:
    """An array of zeros that declares this shape."""
    head = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + bytes(64)


def zipped(array: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("image.npy", array)
    return buffer.getvalue()


def nifti_of(*shape: int) -> bytes:
    """A packed volume that declares this shape, of a few bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return gzip.compress(header.binaryblock + bytes(4) + bytes(10_000))


HUGE = {
    "wide.npy": npy_of("(100000, 100000)"),
    "deep.npz": zipped(npy_of("(60, 60, 1000000000)")),
    "bomb.npz": zipped(npy_of("(100000, 10000)") + bytes(30_000_000)),
    "many.nii.gz": nifti_of(8, 8, 32_000),
    "small.nii.gz": nifti_of(1, 1, 32_000),
    "frames.dcm": dicom(np.zeros((1, 4, 4), np.int16), NumberOfFrames="2000000000"),
    "rows.dcm": dicom(np.zeros((4, 4), np.int16), Rows=65_535, Columns=65_535),
    "size.tif": SMALL.replace(
        struct.pack("<HHII", 256, 4, 1, 4), struct.pack("<HHII", 256, 4, 1, 2**30)
    ),
    "deflate.tif": tiff(np.zeros((1000, 1000), np.uint16), compression="zlib"),
    "bands.tif": tiff(np.zeros((64, 64, 4000), np.uint8), compression="zlib"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_size_is_refused_before_anything_is_allocated(client, name, monkeypatch):
    model = "int16" if name.endswith(("dcm", "gz")) else "uint16"
    allocated = []
    monkeypatch.setattr(values.values, "read", lambda *_: allocated.append(1))
    answer = ask(client, model, HUGE[name])
    assert answer.status_code in (400, 413), answer.text
    assert allocated == []


def test_pages_that_take_too_long_are_not_read_to_the_end(client, tmp_path, monkeypatch):
    model = make_identity(tmp_path / "m.onnx", of("int16"))
    frames, begun = drawn("int16", 40, 4, 4), []

    def slowly(*arguments) -> object:
        begun.append(1)
        time.sleep(0.05)
        return read(*arguments)

    read = rasters.OpenFile.read
    monkeypatch.setattr(rasters.OpenFile, "read", slowly)
    limits = Limits(max_pixels=4096, seconds=0.2)
    with TestClient(create_app(Models([str(model)], "cpu"), limits)) as client:
        assert client.post("/v1/translate", content=dicom(frames)).status_code == 504
        time.sleep(0.2)
    assert 0 < len(begun) < 20


@pytest.mark.parametrize("pads", [{"multiple": 32}, {"multiple": 4, "min_size": 32}])
def test_what_counts_is_what_the_model_runs(tmp_path, pads):
    array = drawn("uint16", 1, 160)
    padding = make_between(tmp_path / "m.onnx", of("uint16"), of("uint16"), **pads)
    with TestClient(create_app(Models([str(padding)], "cpu"), LIMITS)) as client:
        assert client.post("/v1/translate", content=tiff(array)).status_code == 413
        assert client.post("/v1/translate", content=tiff(array[:, :128])).status_code == 200


def test_damaged_files_are_no_error_of_the_server(client):
    seeds = {
        "bands": tiff(drawn("uint16", 8, 8, 5), compression="zlib"),
        "int16": dicom(drawn("int16", 2, 8, 8)),
        "float32": nibabel.Nifti1Image(drawn("float32", 8, 8, 3), AFFINE).to_bytes(),
        "uint16": written(Image.fromarray(drawn("uint16", 8, 8)).save, "PNG"),
        "int32": zipped(written(np.save, drawn("int32", 8, 8))),
    }
    for model, content in seeds.items():
        assert ask(client, model, content).status_code == 200
        for _ in range(30):
            damaged = bytearray(content)
            for at in RANDOM.integers(0, min(len(content), 600), 3):
                damaged[at] = RANDOM.integers(0, 256)
            assert ask(client, model, bytes(damaged)).status_code < 500
