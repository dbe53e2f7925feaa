"""Write the files of corpus/ that cases are made from: small ones of every kind.

    PYTHONPATH=tests python tests/fuzz/seeds.py

The files are kept in the repository, so that cases are the same whichever versions of the writers
are installed. Files named refused-* are cases that once failed; this script leaves them.
"""

import base64
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 (so that Pillow writes it)
import pydicom
import rasterio
import tifffile
import torch
from bundles import make_between, make_bundle
from PIL import Image
from safetensors.torch import save as as_safetensors

from fuzz.targets import CORPUS
from img2img import checksum, rasters
from img2img.intensity import Intensity
from img2img.methods.pix2pix import Pix2Pix
from img2img.training.config import RunConfig

pillow_heif.register_heif_opener(thumbnails=False)
VALUES = (np.arange(24 * 20 * 3).reshape(24, 20, 3) % 251).astype(np.uint16)
PICTURE = Image.fromarray((VALUES % 251).astype(np.uint8))
Files = Iterator[tuple[str, bytes]]


def saved(kind: str, image: Image.Image = PICTURE, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph() -> Files:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "Ada"
    clear = PICTURE.copy()
    clear.putalpha(Image.linear_gradient("L").resize(PICTURE.size))
    yield "exif.jpg", saved("JPEG", exif=exif, quality=60)
    yield "progressive.jpg", saved("JPEG", progressive=True, quality=60)
    yield "cmyk.jpg", saved("JPEG", PICTURE.convert("CMYK"), quality=60)
    yield "alpha.png", saved("PNG", clear, exif=exif, dpi=(72, 72))
    yield "palette.png", saved("PNG", PICTURE.quantize(16), transparency=3)
    yield "lossy.webp", saved("WEBP", quality=50, exif=exif)
    yield "lossless.webp", saved("WEBP", clear, lossless=True)
    yield "animated.webp", saved("WEBP", save_all=True, append_images=[clear])
    yield "a.gif", saved("GIF", PICTURE.quantize(16))
    yield "a.bmp", saved("BMP")
    yield "lzw.tif", saved("TIFF", compression="tiff_lzw")
    yield "ycbcr.tif", saved("TIFF", PICTURE.convert("YCbCr"), compression="jpeg")
    yield "a.avif", saved("AVIF", quality=50)
    yield "a.jp2", saved("JPEG2000", quality_layers=[20])
    yield "a.ppm", b"P6 4 2 1023\n" + bytes(range(48))
    yield "a.heic", saved("HEIF", quality=30)
    yield "a.jxl", saved("JXL", quality=50)


def tiff() -> Files:
    def written(**options) -> bytes:
        buffer = io.BytesIO()
        if "values" not in options:
            options |= {"values": VALUES, "photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(buffer, options.pop("values"), **options)
        return buffer.getvalue()

    yield "plain.tif", written()
    yield "pages.tif", written(values=VALUES[..., :2].transpose(2, 0, 1), photometric="miniswhite")
    yield "tiles.tif", written(tile=(16, 16), compression="zlib", predictor=True)
    yield "lzw.tif", written(rowsperstrip=7, compression="lzw")
    planes, axes = VALUES.transpose(2, 0, 1), {"axes": "CYX", "PhysicalSizeX": 0.5}
    yield "planes.ome.tif", written(values=planes, ome=True, metadata=axes)
    yield "big.tif", written(bigtiff=True, byteorder=">")
    yield "floats.tif", written(values=VALUES[..., 0].astype(np.float64), compression="zstd")
    yield "jpeg.tif", written(values=np.asarray(PICTURE), photometric="rgb", compression="jpeg")
    yield "imagej.tif", written(values=planes, imagej=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tif")
        place = rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)
        with rasterio.open(
            *(path, "w", "GTiff", 20, 24, 3),
            crs="EPSG:32633",
            transform=place,
            dtype="uint16",
            nodata=7,
        ) as file:
            file.write(planes)
            file.descriptions = ("red", "green", "blue")
        yield "geo.tif", path.read_bytes()
        with tifffile.TiffWriter(path) as file:
            file.write(VALUES[..., 0], subifds=1, tile=(16, 16), compression="zlib")
            file.write(VALUES[::2, ::2, 0], subfiletype=1, compression="zlib")
        yield "pyramid.tif", path.read_bytes()


def array() -> Files:
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    yield "a.npy", buffer.getvalue()
    yield "a.npz", rasters.encode(VALUES, None, ".npz")


def deep_png() -> Files:
    yield "colors.png", rasters.encode(VALUES, None, ".png")
    yield "grey.png", saved("PNG", Image.fromarray(VALUES[..., 0]))


def dicom() -> Files:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = 24, 20, 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.WindowCenter, data.WindowWidth, data.PatientName = 40, 400, "A^B"

    def written() -> bytes:
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, enforce_file_format=True)
        return buffer.getvalue()

    data.PixelData = VALUES[..., 0].tobytes()
    yield "plain.dcm", written()
    data.NumberOfFrames = 3
    data.PixelData = VALUES.transpose(2, 0, 1).tobytes()
    yield "frames.dcm", written()
    data.compress(pydicom.uid.RLELossless)
    yield "rle.dcm", written()


def nifti() -> Files:
    image = nibabel.Nifti1Image(VALUES.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2, -5)
    yield "volume.nii", image.to_bytes()
    yield "packed.nii.gz", gzip.compress(image.to_bytes(), mtime=0)
    yield "second.nii", nibabel.Nifti2Image(VALUES.astype(np.float32), np.eye(4)).to_bytes()


def bundle() -> Files:
    heights = Intensity(dtype="uint16", bands=("1",), low=(0.0,), high=(10000.0,), unit="m")
    with tempfile.TemporaryDirectory() as folder:
        yield "photographs.onnx", make_bundle(Path(folder, "photographs.onnx")).read_bytes()
        yield "values.onnx", make_between(Path(folder, "a.onnx"), heights, None).read_bytes()


def manifest() -> Files:
    from img2img.infer import onnx_file
    from img2img.manifest import METADATA_KEY

    for name, content in bundle():
        text = onnx_file.metadata(onnx_file.parse(content))[METADATA_KEY]
        yield f"{Path(name).stem}.json", text.encode()


def checkpoint() -> Files:
    state = {
        "step": 4,
        "networks": {"g.weight": torch.arange(12.0).reshape(3, 4), "n": torch.tensor(2)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    }
    for name, is_zip in (("zip.pt", True), ("legacy.pt", False)):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=is_zip)
        yield name, buffer.getvalue()


def weights() -> Files:
    tensors = {"ab.0.weight": torch.arange(12.0).reshape(3, 4), "ab.0.bias": torch.zeros(3).half()}
    yield "plain.safetensors", as_safetensors(tensors, {"step": "4"})
    described = {"step": "4", checksum.KEY: checksum.EMPTY}
    yield "sealed.safetensors", checksum.seal(as_safetensors(tensors, described))


def published() -> Files:
    method = Pix2Pix(Pix2Pix.Config(generator={"name": "unet", "width": 1, "levels": 5}))
    with torch.no_grad():
        tensors = method.generators["ab"].state_dict()
        state = {name: tensor.half() for name, tensor in tensors.items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    yield "unet.pth", buffer.getvalue()


def attributes() -> Files:
    yield "celeba.txt", b"2\nMale Smiling\n1.bmp 1 -1\n2.bmp -1 -1\n"
    yield "a.csv", b'image_id,Male,Smiling\n"1.bmp",1,0\nsub/2.bmp,0,1\n'
    yield "words.csv", b"\xef\xbb\xbfMale;Smiling;file\ntrue;no;1\nfalse;yes;2\n"


def config() -> Files:
    yield "flat.yaml", b"mode: cyclegan\na: horses\nb: z\nsize: 128\nd-norm: batch\nsteps: 10\n"
    yield (
        "nested.yaml",
        (
            b"mode: pix2pix\nsources: &s {pairs: p, swap: true}\ntest: {}\nmethod:\n  batch: 2\n"
            b"  generator: {name: unet, width: 8}\n  discriminator: {name: patch, layers: 2}\n"
        ),
    )
    yield (
        "stargan.json",
        json.dumps(
            {"mode": "stargan", "data": "faces", "attribute": ["Male", "Young"], "batch": 4}
        ).encode(),
    )


def run_config() -> Files:
    values = {"name": "r", "mode": "pix2pix", "sources": {"pairs": "p"}}
    full = RunConfig.build({**values, "method": {"steps": 10, "epochs": None}})
    yield "full.json", full.to_json().encode()
    yield "short.json", json.dumps(values).encode()


def record() -> Files:
    source = {"input": "in.png", "size": 4, "mtime_ns": 5, "sha256": "00" * 32}
    line = {"output": "in.png", "status": "ok", "at": 7, **source, "written": 4}
    line |= {"model": "model", "options": "options", "further": [source]}
    yield "plain.jsonl", json.dumps(line).encode() + b"\n"
    yield "begun.jsonl", b'{"output": "in.png", "status": "begun", "at": 1}\n'


def zip_file() -> Files:
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("packed.zip", zipfile.ZIP_DEFLATED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("sub/a.gif", saved("GIF", PICTURE.quantize(4)))
            archive.writestr("b", b"\x89PNG\r\n\x1a\n" + bytes(40))
            archive.writestr("notes.txt", b"no picture")
        yield name, buffer.getvalue()


def shard() -> Files:
    files = {"sub/" + 100 * "a" + ".gif": saved("GIF", PICTURE.quantize(4)), "sub/a.cls": b"3"}
    for name, form in (("pax.tar", tarfile.PAX_FORMAT), ("gnu.tar", tarfile.GNU_FORMAT)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        yield name, buffer.getvalue()


def parts(**fields: bytes) -> bytes:
    """The body of a form, with a file in `image`."""
    lines = []
    for name, content in fields.items():
        file = '; filename="a.png"' if name == "image" else ""
        lines += [f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()]
        lines += [content, b"\r\n"]
    return b"".join([*lines, b"--x--\r\n"])


def form() -> Files:
    picture = saved("PNG", PICTURE.quantize(4))
    yield "file.txt", parts(image=picture)
    yield "fields.txt", parts(image=picture, model=b"photographs", format=b"webp", max_side=b"16")


def json_body() -> Files:
    picture = base64.b64encode(saved("PNG", PICTURE.quantize(4))).decode()
    yield "file.json", json.dumps({"image": picture}).encode()
    url = f"data:image/png;base64,{picture}"
    yield "fields.json", json.dumps({"image": url, "format": "jpeg", "max_side": 16}).encode()


def connection() -> Files:
    start = b"POST /v1/translate?format=webp HTTP/1.1\r\nHost: localhost:8000\r\n"
    picture = saved("PNG", PICTURE.quantize(4))
    yield "picture.txt", start + b"Content-Length: %d\r\n\r\n" % len(picture) + picture
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(picture) + picture + b"\r\n0\r\n\r\n"
    yield "chunks.txt", start + b"Accept: application/json\r\n" + chunks
    body = parts(image=picture)
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n"
    yield "form.txt", start + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body
    asked = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n"
    yield "models.txt", asked + asked.replace(b"/v1/models", b"/healthz")


WRITERS = {
    "photograph": photograph,
    "tiff": tiff,
    "array": array,
    "deep-png": deep_png,
    "dicom": dicom,
    "nifti": nifti,
    "bundle": bundle,
    "openvino": bundle,
    "manifest": manifest,
    "checkpoint": checkpoint,
    "weights": weights,
    "published": published,
    "attributes": attributes,
    "config": config,
    "run-config": run_config,
    "record": record,
    "zip": zip_file,
    "shard": shard,
    "connection": connection,
    "form": form,
    "json": json_body,
}

if __name__ == "__main__":
    for name, files in WRITERS.items():
        for file, content in files():
            path = CORPUS / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
