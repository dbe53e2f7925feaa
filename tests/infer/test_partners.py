"""Several inputs of one picture: which files belong together, and what is made of them, by a model
that gives the stack itself.
"""

import json
import os
import shutil

import numpy as np
import pytest
import tifffile
from bundles import make_between
from typer.testing import CliRunner

from img2img import Translator, rasters
from img2img.cli import app
from img2img.errors import DataError
from img2img.intensity import Intensity, stacked

RANDOM = np.random.default_rng(0)
OPTICAL = Intensity(name="optical", dtype="uint16", bands=("1", "2"), low=(0, 0), high=(99, 99))
SAR = Intensity(name="sar", dtype="float32", bands=("1",), low=(-25,), high=(5,), decibels=True)
STACK = stacked([OPTICAL, SAR])
GIVEN = Intensity(dtype="float32", bands=("1", "2", "3"), low=(0,) * 3, high=(99,) * 3)


@pytest.fixture
def model(tmp_path):
    return make_between(tmp_path / "m.onnx", STACK, GIVEN)


@pytest.fixture
def folders(tmp_path):
    """optical/ and sar/ with the files 0.tif, 1.tif and deep/2.tif."""
    for name in ("0.tif", "1.tif", "deep/2.tif"):
        optical = RANDOM.integers(0, 99, (12, 10, 2)).astype(np.uint16)
        sar = RANDOM.uniform(0.01, 3, (12, 10)).astype(np.float32)
        for folder, values in (("optical", optical), ("sar", sar)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            form = {"planarconfig": "contig"} if values.ndim == 3 else {}
            tifffile.imwrite(path, values, photometric="minisblack", **form)
    return tmp_path / "optical", tmp_path / "sar"


def translate(*arguments) -> "tuple[int, str]":
    result = CliRunner().invoke(app, ["translate", *map(str, arguments), "--provider", "cpu"])
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, " ".join(f"{result.output}{result.exception}".split())


def by_hand(*paths) -> np.ndarray:
    return np.concatenate([rasters.read(path).values.astype(np.float32) for path in paths], -1)


def test_folders_give_what_the_translator_gives_of_the_stacked_array(model, folders, tmp_path):
    code, output = translate(*folders, "-o", tmp_path / "out", "-m", model)
    assert code == 0, output
    assert "3 translated" in output
    translator = Translator(model, "cpu")
    for name in ("0.tif", "1.tif", "deep/2.tif"):
        stack = by_hand(*(folder / name for folder in folders))
        assert np.array_equal(translator(stack), stack)
        assert np.array_equal(rasters.read(tmp_path / "out" / name).values, stack)
        assert np.array_equal(translator(tuple(folder / name for folder in folders)), stack)


def test_the_output_has_the_name_and_the_place_of_the_first_input(model, folders, tmp_path):
    optical, sar = folders
    values = tifffile.imread(optical / "0.tif")
    scale = (33550, "d", 3, (30.0, 30.0, 0.0), True)
    tie = (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0), True)
    form = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(optical / "0.tif", values, extratags=[scale, tie], **form)
    np.save(sar / "0.npy", tifffile.imread(sar / "0.tif"))
    (sar / "0.tif").unlink()
    (sar / "1.tif").rename(sar / "1.TIFF")
    code, output = translate(*folders, "-o", tmp_path / "out", "-m", model)
    assert code == 5, output  # .npy among TIFF files is passed over, so 0.tif has no partner
    assert (tmp_path / "out" / "1.tif").exists()
    tifffile.imwrite(sar / "0.tif", np.load(sar / "0.npy"))
    assert translate(*folders, "-o", tmp_path / "out", "-m", model)[0] == 0
    with tifffile.TiffFile(tmp_path / "out" / "0.tif") as written:
        assert written.pages[0].tags[33550].value == scale[3]


def test_one_file_of_each_is_one_picture(model, folders, tmp_path):
    files = folders[0] / "0.tif", folders[1] / "1.tif"  # of any names
    for out in (tmp_path / "y.npy", tmp_path / "out"):
        code, output = translate(*files, "-o", out, "-m", model)
        assert code == 0, output
    assert np.array_equal(np.load(tmp_path / "y.npy"), by_hand(*files))
    assert np.array_equal(rasters.read(tmp_path / "out" / "0.tif").values, by_hand(*files))


def test_files_without_a_partner_are_told(model, folders, tmp_path):
    optical, sar = folders
    (sar / "1.tif").unlink()
    shutil.copy(sar / "0.tif", sar / "9.tif")
    code, output = translate(*folders, "-o", tmp_path / "out", "-m", model)
    assert code == 5
    assert "2 translated, 0 skipped, 1 failed" in output
    assert f"{optical / '1.tif'}: there is no file of the same name in {sar}" in output
    kind = "left out, since the first input has none of that name"
    assert f"1 picture: {kind} (first: {sar / '9.tif'})" in output
    assert not (tmp_path / "out" / "1.tif").exists()
    arguments = ["translate", *folders, "-o", tmp_path / "out", "-m", model, "--json"]
    told = json.loads(CliRunner().invoke(app, list(map(str, arguments))).stdout)
    assert told["notes"][kind] == {"pictures": 1, "first": str(sar / "9.tif")}
    assert told["failed"][0][0] == str(optical / "1.tif")


def test_files_of_different_sizes_fail_by_name_and_the_others_go_on(model, folders, tmp_path):
    tifffile.imwrite(folders[1] / "1.tif", np.ones((6, 5), np.float32))
    code, output = translate(*folders, "-o", tmp_path / "out", "-m", model)
    assert code == 5
    assert f"10x12, and {folders[1] / '1.tif'} 5x6. Resample them to one grid first." in output
    assert "2 translated" in output


def test_a_wrong_file_of_a_further_input_is_named(model, folders, tmp_path):
    tifffile.imwrite(folders[1] / "1.tif", np.ones((12, 10), np.int16))
    (folders[1] / "0.tif").write_bytes(b"II*\0broken")
    _, output = translate(*folders, "-o", tmp_path / "out", "-m", model)
    assert f"{folders[1] / '1.tif'}: 1 band of int16, where 1 band of float32" in output
    assert f"0.tif: {folders[1] / '0.tif'}: " in output


@pytest.mark.parametrize("which", [0, 1])
def test_a_change_of_any_input_is_noticed(model, folders, tmp_path, which):
    arguments = (*folders, "-o", tmp_path / "out", "-m", model)
    assert translate(*arguments)[0] == 0
    assert "0 translated, 3 skipped" in translate(*arguments)[1]
    file = folders[which] / "0.tif"
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # of the same size
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))  # and older
    assert "1 translated, 2 skipped" in translate(*arguments)[1]
    files = [folder / "0.tif" for folder in folders]
    assert np.array_equal(rasters.read(tmp_path / "out" / "0.tif").values, by_hand(*files))


def test_inputs_that_were_only_touched_or_moved_are_kept(model, folders, tmp_path):
    out = ("-o", tmp_path / "out", "-m", model)
    assert translate(*folders, *out)[0] == 0
    (folders[1] / "0.tif").touch()
    assert "0 translated, 3 skipped" in translate(*folders, *out)[1]
    moved = folders[1].rename(tmp_path / "radar")
    assert "0 translated, 3 skipped" in translate(folders[0], moved, *out)[1]
    assert "0 translated, 3 skipped" in translate(folders[0], moved, *out)[1]


def test_inputs_that_changed_places_are_noticed(tmp_path, folders):
    """Both are of one type, so that only their contents tell."""
    twice = stacked([SAR, SAR.model_copy(update={"name": "radar"})])
    target = Intensity(dtype="float32", bands=("1", "2"), low=(0, 0), high=(99, 99))
    model = make_between(tmp_path / "m.onnx", twice, target)
    other = shutil.copytree(folders[1], tmp_path / "radar")
    for path in other.rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) * 2)
    out = ("-o", tmp_path / "out", "-m", model)
    assert "3 translated" in translate(folders[1], other, *out)[1]
    assert "3 translated" in translate(other, folders[1], *out)[1]


def test_another_number_of_inputs_is_refused_with_their_names_in_order(model, folders, tmp_path):
    for inputs in (folders[:1], (*folders, folders[0])):
        code, output = translate(*inputs, "-o", tmp_path / "out", "-m", model)
        assert code == 2
        assert "takes 2 inputs, in this order: optical, sar. Give a folder of each" in output


def test_what_can_not_be_paired_is_refused(model, folders, tmp_path):
    optical, sar = folders
    out = ("-o", tmp_path / "out", "-m", model)
    assert (
        "must be a folder of each, or a file of each" in translate(optical, sar / "0.tif", *out)[1]
    )
    assert "There is no file or folder" in translate(optical, tmp_path / "none", *out)[1]
    assert "is also the output folder" in translate(optical, sar, "-o", sar, "-m", model)[1]
    files = optical / "0.tif", sar / "0.tif"
    message = "would replace its own input"
    assert message in translate(*files, "-o", files[1], "-m", model)[1]
    shutil.copy(optical / "0.tif", optical / "0.tiff")
    code, output = translate(optical, sar, *out)
    assert code == 3
    assert "have the same name without suffix, so it is not clear which of them to pair" in output


def test_a_further_input_is_never_replaced(model, folders, tmp_path):
    optical, sar = folders
    shutil.copytree(sar / "deep", tmp_path / "out" / "deep")
    shutil.rmtree(sar / "deep")
    (sar / "deep").symlink_to(tmp_path / "out" / "deep")
    before = (sar / "deep" / "2.tif").read_bytes()
    code, output = translate(optical, sar, "-o", tmp_path / "out", "-m", model)
    assert code == 3
    assert "2.tif would replace its own input. Choose another folder with -o." in output
    assert (sar / "deep" / "2.tif").read_bytes() == before


def test_pages_of_volumes_are_stacked_page_by_page(model, tmp_path):
    one = Intensity(name="t1", dtype="int16", bands=("1",), low=(0,), high=(99,))
    two = Intensity(name="t2", dtype="int16", bands=("1",), low=(0,), high=(99,))
    target = Intensity(dtype="int16", bands=("1", "2"), low=(0, 0), high=(99, 99))
    model = make_between(tmp_path / "v.onnx", stacked([one, two]), target)
    volumes = RANDOM.integers(0, 99, (2, 3, 8, 9)).astype(np.int16)
    for name, volume in zip(("t1.tif", "t2.tif"), volumes, strict=True):
        tifffile.imwrite(tmp_path / name, volume, photometric="minisblack")
    files = tmp_path / "t1.tif", tmp_path / "t2.tif"
    code, output = translate(*files, "-o", tmp_path / "y.tif", "-m", model)
    assert code == 0, output
    for page in range(3):
        values = rasters.read(tmp_path / "y.tif", page).values
        assert np.array_equal(values, volumes[:, page].transpose(1, 2, 0))


def test_shards_share_the_pictures(model, folders, tmp_path):
    for shard in ("1/2", "2/2"):
        assert translate(*folders, "-o", tmp_path / "out", "-m", model, "--shard", shard)[0] == 0
    assert len(list((tmp_path / "out").rglob("*.tif"))) == 3


def test_a_tuple_is_one_picture_and_a_list_several(model, folders):
    translator = Translator(model, "cpu")
    files = [tuple(folder / name for folder in folders) for name in ("0.tif", "1.tif")]
    stacks = [by_hand(*pair) for pair in files]
    assert np.array_equal(translator(files), stacks)
    arrays = tuple(rasters.read(path).values for path in files[0])
    assert np.array_equal(translator(arrays), stacks[0])
    assert np.array_equal(translator(np.stack(stacks)), stacks)


def test_a_tuple_of_another_kind_is_refused(model, folders):
    translator = Translator(model, "cpu")
    optical, sar = (rasters.read(folder / "0.tif").values for folder in folders)
    with pytest.raises(DataError, match="1 file is given, where a picture has one of each input"):
        translator((optical,))
    with pytest.raises(DataError, match="1 file is given"):
        translator(folders[0] / "0.tif")
    with pytest.raises(ValueError, match=r"expected uint16 \[H, W, 2\], got float32 \[12, 10, 1\]"):
        translator((sar, optical))
    with pytest.raises(DataError, match=r"optical is 10x12, and sar 10x6\. Resample"):
        translator((optical, sar[:6]))
