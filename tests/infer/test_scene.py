"""Pictures that are translated in parts, against the same pictures translated whole."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from bundles import make_between, make_bundle, make_identity
from PIL import Image, ImageCms
from typer.testing import CliRunner

from img2img import images, rasters
from img2img.cli import app
from img2img.export import graph
from img2img.files import find_pictures
from img2img.infer import scene_translate
from img2img.infer.folder import Settings, Summary, translate_files
from img2img.infer.plan import Job, make_plan
from img2img.infer.record import Record
from img2img.infer.registry import shipped
from img2img.infer.scene import Scene
from img2img.infer.translator import Translator
from img2img.intensity import Intensity, stacked
from img2img.methods.base import ExportSpec
from img2img.nets.init import init_normal
from img2img.nets.resnet import ResNet
from img2img.rasters import windows
from img2img.sizes import Size
from img2img.training.config import RunConfig

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
RANDOM = np.random.default_rng(0)
TYPES = ["uint8", "uint16", "int16", "int32", "float32"]


def of(dtype: str, bands: int = 1, **more) -> Intensity:
    names = tuple(str(band + 1) for band in range(bands))
    high = 200.0 if dtype == "uint8" else 1000.0
    return Intensity(dtype=dtype, bands=names, low=(0,) * bands, high=(high,) * bands, **more)


def drawn(dtype: str, *shape: int) -> np.ndarray:
    return RANDOM.uniform(0, 200 if dtype == "uint8" else 1000, shape).astype(dtype)


def translate(*arguments) -> tuple[int, str]:
    """In parts wherever a picture has over 5,000 pixels, in tiles of 64 px."""
    options = ["--provider", "cpu", "--tile", "64", "--max-pixels", "5000"]
    result = CliRunner().invoke(app, ["translate", *map(str, arguments), *options])
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, f"{result.output}{result.exception or ''}"


def save_geotiff(path: Path, values: np.ndarray, **options) -> None:
    height, width, bands = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=bands,
        dtype=values.dtype.name,
        crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_000_000, 10, 10),
        **options,
    ) as file:
        file.write(np.moveaxis(values, -1, 0))
        file.descriptions = [f"band {letter}" for letter in "abcdefg"[:bands]]


@pytest.fixture(scope="module")
def painter(tmp_path_factory) -> Translator:
    """A network with norms, of photographs."""
    import torch

    torch.manual_seed(1)
    network = ResNet(3, 3, 4, 1, "instance")
    init_normal(network, std=0.05)
    spec = ExportSpec(network, 3, 3)
    config = RunConfig(mode="cyclegan", name="m", method={"size": 64}, sources={})
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    manifest = graph.make_manifest(config, "ab", spec, {}, {}, "fp32")
    graph.write(graph.trace(spec, Size(64, 64)), manifest, path)
    return Translator(path, "cpu")


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:6]
    pixels = [images.read(path).pixels for path in files]
    return np.vstack([np.hstack(pixels[:3]), np.hstack(pixels[3:])])[:121, :187]


@pytest.mark.parametrize("dtype", TYPES)
def test_a_geotiff_comes_back_bit_for_bit_with_its_place(dtype, tmp_path):
    values = drawn(dtype, 130, 150, 3)
    save_geotiff(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64)
    model = make_identity(tmp_path / "m.onnx", of(dtype, 3), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "out/a.tif") as other:
        np.testing.assert_array_equal(other.read(), np.moveaxis(values, -1, 0))
        assert (one.crs, one.transform) == (other.crs, other.transform)
        assert one.descriptions == other.descriptions
        assert other.dtypes == (dtype,) * 3
        assert other.profile["tiled"]
    assert not list((tmp_path / "out").glob(".img2img-*"))


@pytest.mark.parametrize("byteorder", "<>")
def test_both_byte_orders_come_back(byteorder, tmp_path):
    values = drawn("float32", 130, 150, 1)
    tifffile.imwrite(tmp_path / "a.tif", values[..., 0], byteorder=byteorder, tile=(64, 64))
    model = make_identity(tmp_path / "m.onnx", of("float32"), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    with tifffile.TiffFile(tmp_path / "out/a.tif") as file:
        assert file.byteorder == byteorder
        np.testing.assert_array_equal(file.asarray(), values[..., 0])


def test_an_array_and_channels_in_pages_come_back_bit_for_bit(tmp_path):
    values = drawn("uint16", 130, 150, 2)
    model = make_identity(tmp_path / "m.onnx", of("uint16", 2), reach=4)
    np.save(tmp_path / "a.npy", values)
    stored = np.moveaxis(values, -1, 0)
    kinds = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "b.ome.tif", stored, metadata=kinds)
    for name in ("a.npy", "b.ome.tif"):
        code, said = translate(tmp_path / name, "-m", model, "-o", tmp_path / "out")
        assert code == 0, said
        np.testing.assert_array_equal(rasters.read(tmp_path / "out" / name).values, values)
    with tifffile.TiffFile(tmp_path / "out/b.ome.tif") as file:
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata


def test_missing_pixels_stay_missing_and_empty_tiles_are_not_run(tmp_path):
    values = drawn("int16", 200, 200, 1)
    values[values == -7] = 0
    values[:100, :150] = -7
    save_geotiff(tmp_path / "a.tif", values, nodata=-7)
    model = make_identity(tmp_path / "m.onnx", of("int16", nodata=-7), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.nodata == -7
        np.testing.assert_array_equal(file.read(1), values[..., 0])


def test_missing_pixels_of_a_type_without_a_value_for_them_are_told(tmp_path):
    values = drawn("float32", 100, 90, 1) / 10
    values[3:70, 5:80] = np.nan
    np.save(tmp_path / "a.npy", values)
    model = make_between(tmp_path / "m.onnx", of("float32"), of("uint8"), reach=4)
    code, said = translate(tmp_path / "a.npy", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    assert "1 picture: missing pixels are 0" in " ".join(said.split())
    result = np.load(tmp_path / "out/a.npy")
    assert not result[3:70, 5:80].any()
    np.testing.assert_array_equal(result[70:], values[70:, :, 0].astype(np.uint8))


def test_values_beyond_the_range_are_counted(tmp_path):
    values = drawn("uint16", 100, 100, 1)
    values[:25] = 2000
    np.save(tmp_path / "a.npy", values)
    model = make_identity(tmp_path / "m.onnx", of("uint16"), reach=4)
    jobs = make_plan([str(tmp_path / "a.npy")], tmp_path / "out", "keep", "1/1")
    jobs = [job._replace(target=str(tmp_path / "out/a.npy")) for job in jobs]
    settings = Settings(tile=64, max_pixels=5000)
    summary = translate_files(Translator(model, "cpu"), jobs, Record(tmp_path / "out"), settings)
    assert "values beyond the model's range are clipped" in summary.notes


def test_what_was_told_before_an_interruption_is_told_and_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_translate, "SAVE_EVERY", 0.0)
    values = drawn("uint16", 128, 192, 1).astype(np.float64)
    values[:64] = 2000
    np.save(tmp_path / "a.npy", values)
    model = make_identity(tmp_path / "m.onnx", of("float32"), reach=4)

    def notes(out: str, stops: int) -> list[str]:
        jobs = [Job(str(tmp_path / "a.npy"), str(tmp_path / out / "a.npy"))]
        told: list[str] = []
        monkeypatch.setattr(Summary, "add_notes", lambda self, source, notes: told.extend(notes))

        def show(source: str, done: int, total: int) -> None:
            if done == stops:
                raise KeyboardInterrupt

        record = Record(tmp_path / out)
        options = Settings(tile=64, max_pixels=5000), "skip", print, show
        translator = Translator(model, "cpu")
        if stops > 0:
            with pytest.raises(KeyboardInterrupt):
                translate_files(translator, jobs, record, *options)
            stops = -1
        monkeypatch.setattr(windows, "as_read", lambda values, _: rounded(values, []))
        translate_files(translator, jobs, record, *options)
        monkeypatch.setattr(windows, "as_read", rounded)
        return told

    rounded = windows.as_read
    clipped = "values beyond the model's range are clipped, "
    whole = notes("whole", -1)
    again = notes("again", 3)
    assert [note for note in again if note.startswith(clipped)] == whole[-1:]
    assert "float64 values are rounded to float32" in again


def test_what_a_kill_leaves_after_the_end_is_deleted_by_the_next_run(tmp_path, monkeypatch):
    """The record has the picture, and its folder of work is still there."""
    np.save(tmp_path / "a.npy", drawn("uint16", 100, 100, 1))
    model = make_identity(tmp_path / "m.onnx", of("uint16"), reach=4)
    with monkeypatch.context() as patched:
        patched.setattr(Scene, "clear", lambda self: None)
        code, said = translate(tmp_path / "a.npy", "-m", model, "-o", tmp_path / "out")
        assert code == 0, said
    [left] = (tmp_path / "out").glob(".img2img-*.parts")
    other = left.with_name(".img2img-0123456789abcdef.parts")
    other.mkdir()
    code, said = translate(tmp_path / "a.npy", "-m", model, "-o", tmp_path / "out")
    assert (code, "1 skipped" in said) == (0, True)
    assert list((tmp_path / "out").glob(".img2img-*.parts")) == [other]


def test_a_small_file_of_many_pixels_is_read_in_parts(tmp_path):
    """Its header is read only after its pixels are refused."""
    values = np.zeros((100, 100), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, tile=(64, 64), compression="zlib")
    model = make_identity(tmp_path / "m.onnx", of("uint16"), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    assert tifffile.imread(tmp_path / "out/a.tif").shape == (100, 100)


def test_a_photograph_in_parts_is_that_of_the_whole(painter, wall, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(wall).save(tmp_path / "a.tif", icc_profile=profile, compression="tiff_lzw")
    code, said = translate(tmp_path / "a.tif", "-m", painter.path, "-o", tmp_path / "out")
    assert code == 0, said
    result = images.read(tmp_path / "out/a.tif").pixels
    apart = np.abs(result.astype(int) - painter(tmp_path / "a.tif"))
    assert apart.max() <= 1
    assert apart.mean() < 0.02
    with Image.open(tmp_path / "out/a.tif") as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info  # its pixels are in sRGB


def test_a_slide_of_jpeg_tiles_becomes_a_tiff(painter, wall, tmp_path):
    kinds = {"photometric": "ycbcr", "compression": "jpeg", "tile": (64, 64)}
    tifffile.imwrite(tmp_path / "a.svs", wall, **kinds)
    code, said = translate(tmp_path / "a.svs", "-m", painter.path, "-o", tmp_path / "out")
    assert code == 0, said
    expected = painter(tifffile.imread(tmp_path / "a.svs"))
    result = images.read(tmp_path / "out/a.tif").pixels
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_what_goes_on_after_an_interruption_is_the_same_bit_for_bit(
    painter, wall, tmp_path, monkeypatch
):
    monkeypatch.setattr(scene_translate, "SAVE_EVERY", 0.0)
    tifffile.imwrite(tmp_path / "a.tif", wall, tile=(64, 64), photometric="rgb")
    settings = Settings(tile=64, max_pixels=5000)
    jobs = make_plan([str(tmp_path / "a.tif")], tmp_path / "whole", "keep", "1/1")
    translate_files(painter, jobs, Record(tmp_path / "whole"), settings)
    jobs = make_plan([str(tmp_path / "a.tif")], tmp_path / "out", "keep", "1/1")
    made: list[int] = []

    def stop_after(steps: int):
        def show(source: str, done: int, total: int) -> None:
            made.append(done)
            if done == steps:
                raise KeyboardInterrupt

        return show

    stops = (3, 11, 40)
    for steps in stops:
        with pytest.raises(KeyboardInterrupt):
            translate_files(
                painter, jobs, Record(tmp_path / "out"), settings, "skip", print, stop_after(steps)
            )
        assert not (tmp_path / "out/a.tif").exists()
    translate_files(
        painter, jobs, Record(tmp_path / "out"), settings, "skip", print, stop_after(-1)
    )
    assert (tmp_path / "out/a.tif").read_bytes() == (tmp_path / "whole/a.tif").read_bytes()
    # Only the step in flight is repeated: its pixels were not saved yet.
    repeated = [steps for steps in stops if made.count(steps) > 1]
    assert len(made) - len(set(made)) <= 2 * len(stops), repeated
    again = translate_files(painter, jobs, Record(tmp_path / "out"), settings)
    assert again.skipped == 1


def test_another_input_or_option_begins_anew(painter, wall, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_translate, "SAVE_EVERY", 0.0)
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, wall, tile=(64, 64), photometric="rgb")
    jobs = make_plan([str(path)], out, "keep", "1/1")
    begun: list[int] = []

    def run(settings: Settings, stop: int) -> None:
        def show(source: str, done: int, total: int) -> None:
            begun.append(done)
            if done == stop:
                raise KeyboardInterrupt

        begun.clear()
        translate_files(painter, jobs, Record(out), settings, "skip", print, show)

    with pytest.raises(KeyboardInterrupt):
        run(Settings(tile=64, max_pixels=5000), 9)
    with pytest.raises(KeyboardInterrupt):
        run(Settings(tile=64, max_pixels=5000, norm_tiles=2), 5)
    assert begun[0] == 0
    run(Settings(tile=64, max_pixels=5000), -1)  # the first options again, on other pixels
    assert begun[0] == 0
    whole = painter(path)
    assert np.abs(images.read(out / "a.tif").pixels.astype(int) - whole).max() <= 1
    tifffile.imwrite(path, wall[::-1], tile=(64, 64), photometric="rgb")
    run(Settings(tile=64, max_pixels=5000, norm_tiles=2), -1)
    assert begun[0] == 0


def test_a_second_process_on_a_scene_is_told(painter, wall, tmp_path):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, wall, tile=(64, 64), photometric="rgb")
    with scene_translate.Scene((path,), out / "a.tif", "").locked():
        code, said = translate(path, "-m", painter.path, "-o", out)
    assert (code, f"it is being translated by process {os.getpid()} on " in said) == (5, True)
    code, said = translate(path, "-m", painter.path, "-o", out)
    assert code == 0, said


def test_norms_see_tiles_that_have_a_value(tmp_path):
    """Where the first ones of those that are spread have none."""
    values = drawn("float32", 256, 256, 1)
    values[:64] = values[:, :64] = np.nan
    save_geotiff(tmp_path / "a.tif", values)
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = ResNet(1, 1, 4, 1, "instance")
    init_normal(network, std=0.05)
    given = of("float32")
    spec = ExportSpec(network, 1, 1, intensity_in=given, intensity_out=given)
    settings = {"size": 64, "in_channels": 1, "out_channels": 1}
    config = RunConfig(mode="cyclegan", name="m", method=settings, sources={})
    manifest = graph.make_manifest(config, "ab", spec, {}, {}, "fp32")
    graph.write(graph.trace(spec, Size(64, 64)), manifest, tmp_path / "m.onnx")
    line = [tmp_path / "a.tif", "-m", tmp_path / "m.onnx", "-o"]
    code, said = translate(*line, tmp_path / "all")
    assert code == 0, said
    code, said = translate(*line, tmp_path / "some", "--norm-tiles", 4)
    assert code == 0, said
    exact, near = (rasters.read(tmp_path / out / "a.tif").values for out in ("all", "some"))
    assert np.isnan(near[:64]).all()
    known = ~np.isnan(exact)
    assert known.sum() == 192 * 192
    spread = exact[known].std()
    assert np.abs(exact[known] - near[known]).mean() < 0.5 * spread


def test_a_folder_that_can_not_be_written_is_told(painter, wall, tmp_path, monkeypatch):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, wall, tile=(64, 64), photometric="rgb")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(out))

    monkeypatch.setattr(scene_translate.Scene, "save_state", refuse)
    code, said = translate(path, "-m", painter.path, "-o", out)
    assert (code, "can't be read or written" in said) == (5, True)
    assert not (out / "a.tif").exists()


@pytest.mark.parametrize(
    ("bands", "extra"), [(2, "unassalpha"), (4, "unassalpha"), (4, "assocalpha")]
)
def test_transparency_is_that_of_the_whole(bands, extra, painter, wall, tmp_path):
    y, x = np.mgrid[: wall.shape[0], : wall.shape[1]]
    alpha = ((x // 9 + y // 7) % 5 * 64 - 1).clip(0, 255).astype(np.uint8)
    alpha[:64, :64] = 255  # a part without transparency
    colors = wall if bands == 4 else wall[..., :1]
    if extra == "assocalpha":
        colors = (colors.astype(int) * alpha[..., None] // 255).astype(np.uint8)
    pixels = np.concatenate([colors, alpha[..., None]], -1)
    kind = "rgb" if bands == 4 else "minisblack"
    options = {"planarconfig": "contig", "extrasamples": [extra], "tile": (64, 64)}
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, **options)
    for name, most in (("whole", 10**8), ("parts", 5000)):
        settings = Settings(tile=64, max_pixels=most)
        jobs = make_plan([str(tmp_path / "a.tif")], tmp_path / name, "keep", "1/1")
        summary = translate_files(painter, jobs, Record(tmp_path / name), settings)
        assert not summary.failed
    whole, parts = (images.read(tmp_path / n / "a.tif", 4).pixels for n in ("whole", "parts"))
    np.testing.assert_array_equal(parts[..., 3], whole[..., 3])
    assert np.abs(parts.astype(int) - whole).max() <= 1
    assert len(np.unique(whole[..., 3])) == 5


@pytest.mark.parametrize("stop", [None, 10, 20])
def test_all_pages_are_translated_each_in_parts(stop, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_translate, "SAVE_EVERY", 0.0)
    values = drawn("uint16", 3, 130, 150)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", tile=(64, 64))
    model = make_identity(tmp_path / "m.onnx", of("uint16"), reach=4)
    shown: list[tuple[int, int]] = []

    def show(source: str, done: int, total: int) -> None:
        shown.append((done, total))
        if len(shown) == stop:
            raise KeyboardInterrupt

    jobs = make_plan([str(tmp_path / "a.tif")], tmp_path / "out", "keep", "1/1")
    settings = Settings(tile=64, max_pixels=5000)
    options = Record(tmp_path / "out"), settings, "skip", print, show
    if stop:
        with pytest.raises(KeyboardInterrupt):
            translate_files(Translator(model, "cpu"), jobs, *options)
    translate_files(Translator(model, "cpu"), jobs, *options)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a.tif"), values)
    assert shown[-1] == (27, 27)  # 3 x 3 tiles of each page
    repeated = shown[stop - 1][0] - shown[stop][0] if stop else 0
    assert repeated <= 1  # the step in flight, which was not saved yet


def test_a_stack_of_small_pages_that_is_too_large_is_read_in_parts(tmp_path):
    values = drawn("uint16", 30, 40, 40)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    model = make_identity(tmp_path / "m.onnx", of("uint16"), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a.tif"), values)


def test_pages_that_can_not_be_done_in_parts_are_told(painter, wall, tmp_path):
    values = drawn("uint16", 3, 100, 100)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    model = make_identity(tmp_path / "n.onnx", of("uint16", 3, neighbors=1), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out")
    assert (code, "takes several pages as bands" in said) == (5, True)
    first = make_identity(tmp_path / "f.onnx", of("uint16", pages="first"), reach=4)
    code, said = translate(tmp_path / "a.tif", "-m", first, "-o", tmp_path / "out")
    assert (code, "only the first page is read" in said) == (0, True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a.tif"), values[0])


def test_pages_are_counted_of_inputs_of_which_each_is_a_picture(tmp_path):
    """Of the others, the first page is read, however many there are."""
    parts = [of("uint16", name="x", pages="first"), of("uint16", name="y")]
    parts.append(of("uint8", 3, name="z", photographs=True, file_bands=3))
    model = make_identity(tmp_path / "m.onnx", stacked(parts), reach=4)
    first, second = drawn("uint16", 3, 100, 100), drawn("uint16", 100, 100)
    third = drawn("uint8", 2, 100, 100, 3)
    for name, values in (("x", first), ("y", second), ("z", third)):
        (tmp_path / name).mkdir()
        kind = {"photometric": "rgb" if name == "z" else "minisblack", "rowsperstrip": 16}
        tifffile.imwrite(tmp_path / name / "a.tif", values, **kind)
    folders = [tmp_path / name for name in "xyz"]
    code, said = translate(*folders, "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    assert "only the first page is read" in said
    with rasterio.open(tmp_path / "out" / "a.tif") as file:
        values = file.read()
    np.testing.assert_array_equal(values[0], first[0])
    np.testing.assert_array_equal(values[1], second)
    np.testing.assert_array_equal(values[2:], np.moveaxis(third[0], -1, 0))


def test_a_damaged_state_is_not_used(painter, wall, tmp_path):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, wall, tile=(64, 64), photometric="rgb")
    code, said = translate(path, "-m", painter.path, "-o", out)
    assert code == 0, said
    expected = (out / "a.tif").read_bytes()
    shutil.rmtree(out)
    folder = scene_translate.Scene((path,), out / "a.tif", "").folder
    for content in ("", "{}", "[]", json.dumps({"key": "other"})):
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(content)
        code, said = translate(path, "-m", painter.path, "-o", out)
        assert code == 0, said
        assert (out / "a.tif").read_bytes() == expected
        shutil.rmtree(out)


def test_a_state_of_another_version_is_not_used(tmp_path):
    scene = Scene((tmp_path / "a.tif",), tmp_path / "b.tif", "key")
    scene.folder.mkdir()
    scene.pixels.write_bytes(b"")
    state = {"shape": [1, 8, 8, 1], "dtype": "uint8", "page": 0, "lost": False, "alpha": False}
    scene.save_state(state)
    assert scene.state() == {"key": "key", **state}
    scene.save_state({**state, "shape": [8, 8, 1]})
    assert scene.state() is None
    del state["page"]
    scene.save_state(state)
    assert scene.state() is None


def test_several_inputs_are_stacked_part_by_part(tmp_path):
    """With what is missing in either missing in both."""
    optical, radar = drawn("uint16", 100, 90, 2), drawn("float32", 100, 90, 1)
    radar[40:80, :50] = np.nan
    parts = [of("uint16", 2, name="optical"), of("float32", name="radar")]
    model = make_identity(tmp_path / "m.onnx", stacked(parts), reach=4)
    for name, values in {"optical": optical, "radar": radar}.items():
        (tmp_path / name).mkdir()
        save_geotiff(tmp_path / name / "a.tif", values, nodata=None)
    folders = tmp_path / "optical", tmp_path / "radar"
    code, said = translate(*folders, "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    stack = np.concatenate([optical, radar], -1).astype(np.float32)
    stack[40:80, :50] = np.nan
    with rasterio.open(tmp_path / "out/a.tif") as file:
        np.testing.assert_array_equal(np.moveaxis(file.read(), 0, -1), stack)
        assert file.transform.c == 500_000
    save_geotiff(tmp_path / "radar/a.tif", radar[:90])
    code, said = translate(*folders, "-m", model, "-o", tmp_path / "other")
    assert (code, "differ in size" in said) == (5, True)


@pytest.mark.parametrize("most", [5000, 100_000])
def test_the_output_has_the_names_of_its_own_bands(most, tmp_path):
    """And not those of the input, in parts and whole; colors are RGB."""
    values = drawn("uint16", 100, 90, 3)
    save_geotiff(tmp_path / "a.tif", values)
    source = of("uint16", 3).model_copy(update={"bands": ("band a", "band b", "band c")})
    for names in (("red", "green", "blue"), ("u & v", "w", "x")):
        target = of("float32", 3).model_copy(update={"bands": names})
        model = make_between(tmp_path / "m.onnx", source, target, reach=4)
        line = ["translate", tmp_path / "a.tif", "-m", model, "-o", tmp_path / "out"]
        line += ["--max-pixels", most, "--provider", "cpu", "--existing", "replace"]
        result = CliRunner().invoke(app, list(map(str, line)))
        assert result.exit_code == 0, result.output
        with rasterio.open(tmp_path / "out/a.tif") as file:
            assert file.descriptions == names
            assert file.transform.c == 500_000
            np.testing.assert_array_equal(np.moveaxis(file.read(), 0, -1), values)
        with tifffile.TiffFile(tmp_path / "out/a.tif") as file:
            photometric = file.pages.first.photometric.name
            assert (photometric == "RGB") == (names[0] == "red")


def test_what_can_not_be_done_in_parts_is_told(painter, wall, tmp_path, monkeypatch):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(path, wall, tile=(64, 64), photometric="rgb")
    code, said = translate(path, "-m", painter.path, "-o", out, "--ext", "png")
    assert (code, "leave out --ext" in said) == (5, True)
    unet = make_bundle(tmp_path / "unet.onnx")
    result = CliRunner().invoke(
        app,
        ["translate", str(path), "-m", str(unet), "-o", str(out), "--max-pixels", "5000"],
    )
    assert "--max-pixels" in f"{result.output}{result.exception}"
    Image.fromarray(wall).save(tmp_path / "turned.tif", tiffinfo={274: 6})
    code, said = translate(tmp_path / "turned.tif", "-m", painter.path, "-o", out)
    assert (code, "upright" in said) == (5, True)
    tifffile.imwrite(tmp_path / "deep.tif", wall.astype(np.uint16), photometric="rgb")
    code, said = translate(tmp_path / "deep.tif", "-m", painter.path, "-o", out)
    assert (code, "photographs of this size are read as" in said) == (5, True)
    monkeypatch.setattr(
        scene_translate.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0)
    )
    code, said = translate(path, "-m", painter.path, "-o", out)
    assert (code, "free some space" in said) == (5, True)
    assert not (out / "a.tif").exists()


def test_pictures_of_any_size_stand_beside_each_other(tmp_path):
    """Small ones whole, large ones in parts, in one folder."""
    model = make_bundle(tmp_path / "m.onnx", reach=4)
    (tmp_path / "in").mkdir()
    large, small = (RANDOM.integers(0, 255, (n, n, 3), np.uint8) for n in (100, 20))
    tifffile.imwrite(tmp_path / "in/a.tif", large, photometric="rgb")
    Image.fromarray(small).save(tmp_path / "in/b.png")
    content = io.BytesIO()
    Image.fromarray(small).save(content, "TIFF")
    (tmp_path / "in/c.tif").write_bytes(content.getvalue())
    code, said = translate(tmp_path / "in", "-m", model, "-o", tmp_path / "out")
    assert code == 0, said
    for name, pixels in {"a.tif": large, "b.png": small, "c.tif": small}.items():
        result = images.read(tmp_path / "out" / name).pixels
        np.testing.assert_array_equal(result, 255 - pixels)
