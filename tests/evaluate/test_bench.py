"""Speed and fidelity of bundles, each in a process of its own."""

import json
import shutil

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from img2img.cli import app
from img2img.errors import DeviceError
from img2img.evaluate.bench import bench, load_pictures
from img2img.files import pictures
from img2img.infer.registry import shipped
from img2img.infer.session import binding
from img2img.sizes import Size

MODEL = shipped("weights") / "flat-to-3d.onnx"


@pytest.fixture(scope="module")
def real():
    return load_pictures(pictures(shipped("quickstart") / "test" / "flat"), 3, Size(32, 32), 5)


def test_a_model_is_timed_and_the_second_compared_with_the_first(real, tmp_path):
    other = shutil.copy(MODEL, tmp_path / "other.onnx")
    first, second = bench([MODEL, other], ["cpu"], real, seconds=0.05, threads=1)
    for row in (first, second):
        assert row["provider"] == "cpu"
        assert 0 < row["latency_p50"] <= row["latency_p95"]
        assert row["throughput"] * row["latency_p95"] > 0.3
        assert row["batch"] in (1, 2, 4, 8)
        assert row["load_seconds"] > 0
        assert row["peak_mib"] is None or 20 < row["peak_mib"] < 5000
    assert first["psnr_mean"] is None
    assert second["psnr_mean"] == second["psnr_worst"] == 100


def test_a_provider_that_does_not_bind_ends_it(real):
    with pytest.raises(DeviceError):
        bench([MODEL], ["cuda"], real, seconds=0.05)


def test_what_goes_wrong_in_the_process_is_told_here(real, tmp_path):
    model = onnx.load(MODEL)
    said = json.loads(model.metadata_props[0].value)
    said["in_channels"] = 1
    onnx.helper.set_model_props(model, {"img2img": json.dumps(said)})
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(ValueError, match="expected uint8"):
        bench([tmp_path / "wrong.onnx"], ["cpu"], real, seconds=0.05)


def test_the_command_finds_the_bundles_beside_the_model(tmp_path):
    for name in ("m.onnx", "m-int8.onnx"):
        shutil.copy(MODEL, tmp_path / name)
    command = ["bench", str(tmp_path / "m.onnx"), "--provider", "cpu", "--size", "32"]
    result = CliRunner().invoke(app, [*command, "--seconds", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [row["model"] for row in said["models"]] == ["m", "m-int8"]
    assert {row["size"] for row in said["models"]} == {32}
    assert said["models"][1]["psnr_mean"] == 100


def test_each_model_is_compared_with_its_own_in_fp32_on_every_provider_that_binds(tmp_path):
    for name in ("m.onnx", "other.onnx", "other-int8.bundle"):
        shutil.copy(MODEL, tmp_path / name)
    model = onnx.load(MODEL)
    said = json.loads(model.metadata_props[0].value) | {"precision": "int8"}
    onnx.helper.set_model_props(model, {"img2img": json.dumps(said)})
    onnx.save(model, tmp_path / "m-int8.onnx")
    command = ["bench", str(tmp_path / "m-int8.onnx"), str(tmp_path / "other.onnx"), "--json"]
    result = CliRunner().invoke(app, [*command, "--size", "32", "--seconds", "0.1"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["models"]
    providers = binding(MODEL)
    expected = [(name, p) for name in ("m", "m-int8", "other") for p in providers]
    assert [(row["model"], row["provider"]) for row in rows] == expected
    alone = {row["model"] for row in rows if row["psnr_mean"] is None}
    assert alone == {"m", "other"}


def test_pictures_are_brought_to_the_size(real):
    assert all(picture.shape == (32, 32, 3) for picture in real)
    assert len({picture.tobytes() for picture in real}) == len(real)
    assert all(picture.dtype == np.uint8 for picture in real)
