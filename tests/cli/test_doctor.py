"""`img2img doctor`: what is examined, what is told, and the exit codes."""

import json
import shutil

import pytest
from command_line import run

from img2img import machine
from img2img.cli import examination
from img2img.infer import nvidia, registry

GPU = nvidia.Gpu("Stand-in", 8 * 2**30, "9.0")


@pytest.fixture
def packages(monkeypatch):
    """Pretend that these packages install onnxruntime."""

    def pretend(*names: str) -> None:
        monkeypatch.setattr(examination, "_runtime_packages", lambda: dict.fromkeys(names, "1.0"))

    return pretend


def test_json_tells_facts_and_both_verdicts():
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["problems"]) == (0, [])
    assert report["inference"]["providers"]["cpu"] == "works"
    assert report["inference"]["works"]
    assert report["training"]["works"]
    assert set(report["telemetry"].values()) == {"off"}
    assert {model["state"] for model in report["models"]} == {"intact"}
    assert {len(model["sha256"]) for model in report["models"]} == {64}
    assert all(place["free"] > 0 for place in report["folders"].values())


def test_text_has_the_verdicts_last():
    lines = run("doctor").stdout.splitlines()
    assert any(line.startswith("processor") for line in lines)
    [models, train] = [line for line in lines if line.startswith(("run models?", "train?"))]
    assert models.split()[2] == train.split()[1] == "yes,"
    assert lines.index(models) > next(n for n, line in enumerate(lines) if "flat-to-3d" in line)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--provider auto --device cpu", 0, ""),
        ("--provider coreml", 4, "Models can't run here. coreml: this onnxruntime does not have"),
        ("--device tpu", 4, "Training can't run here. The device tpu is not available"),
        ("--provider gpu", 2, "There is no provider gpu. Choose one of: auto, cpu"),
    ],
)
def test_the_exit_code_is_about_what_was_asked_for(arguments, code, said):
    done = run("doctor", *arguments.split(), "--json")
    assert done.returncode == code
    assert said in done.stderr
    if code != 2:
        report = json.loads(done.stdout)
        assert report["inference"]["works"] == ("coreml" not in arguments)
        assert report["training"]["works"] == ("tpu" not in arguments)


def test_two_runtimes_are_a_problem_with_its_cure(packages):
    packages("onnxruntime", "onnxruntime-gpu")
    done = run("doctor")
    assert done.returncode == 1
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in done.stderr


def test_a_broken_runtime_runs_no_models(packages, monkeypatch):
    packages("onnxruntime-gpu")
    monkeypatch.delattr("onnxruntime.InferenceSession")
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert not report["inference"]["works"]
    assert "pip install --force-reinstall onnxruntime-gpu" in report["problems"][0]


def test_a_damaged_model_is_a_problem(tmp_path, monkeypatch):
    weights = registry.shipped("weights")
    shutil.copytree(weights, tmp_path / "weights", ignore=lambda *_: ["examples"])
    model = tmp_path / "weights" / "flat-to-3d.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    monkeypatch.setattr(registry, "shipped", lambda folder: tmp_path / folder)
    done = run("doctor", "--json", cwd=tmp_path)
    states = {each["name"]: each["state"] for each in json.loads(done.stdout)["models"]}
    assert done.returncode == 1
    assert states.pop("flat-to-3d") == "damaged"
    assert set(states.values()) == {"intact"}


def test_a_gpu_without_the_build_for_it_is_a_remark(monkeypatch):
    monkeypatch.setattr(nvidia, "gpus", lambda: [GPU])
    monkeypatch.setattr("img2img.infer.session.available", lambda: ["cpu"])
    remarks = json.loads(run("doctor", "--json").stdout)["remarks"]
    assert any("the build without CUDA: pip uninstall -y onnxruntime" in each for each in remarks)
    shown = run("doctor").stdout
    assert "Stand-in, 8.0 GiB, compute capability 9.0" in shown


def test_telemetry_that_the_user_turned_on_is_told(monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    assert "may be on: GRADIO_ANALYTICS_ENABLED" in run("doctor").stdout


def test_telemetry_that_is_turned_off_by_another_word_is_off(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "True")  # as Gradio sets it
    report = json.loads(run("doctor", "--json").stdout)
    assert report["telemetry"]["HF_HUB_DISABLE_TELEMETRY"] == "off"


def test_what_is_scarce_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "free_shared_memory", lambda: 2**20)
    monkeypatch.setattr(machine, "ram", lambda: {"of the machine": 2**40, "available": 2**20})
    cores = {"of the machine": 8, "usable": 1, "quota": 0.5}
    monkeypatch.setattr(machine, "cores", lambda: cores)
    place = {"path": "/full", "writable": True, "free": 2**20}
    monkeypatch.setattr(machine, "place", lambda folder: place)
    remarks = "\n".join(json.loads(run("doctor", "--json").stdout)["remarks"])
    for text in ("of memory is available", "of /dev/shm", "0.5 of a core", "current folder: /full"):
        assert text in remarks
