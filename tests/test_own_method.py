"""The package in examples/own_method is installed, and every command takes what it adds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2img import Translator
from img2img.images import read

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "own_method"
GROUPS = ("methods", "generators", "discriminators", "objectives", "layouts")
TINY = (
    *("--generator", "shallow", "--discriminator", "edges", "--objective", "softplus-margin"),
    *("--width", "4", "--depth", "1", "--d-width", "4", "--d-layers", "2", "--gradient", "5"),
    *("--size", "32", "--resize", "36", "--batch", "2", "--held-out", "2", "--save-every", "2"),
    *("--log-every", "1", "--precision", "fp32", "--device", "cpu", "--workers", "0"),
    *("--extractor", "none", "--loggers", "none", "--seed", "1"),
    *("--decay", "0"),  # the rate is the same in a longer run
)
# Several commands in one process, which saves importing torch for each. Every one begins with a
# line of its own on both streams.
SCRIPT = """
import json, sys
from img2img.cli import main
codes = []
for number, arguments in enumerate(json.loads(sys.argv[1])):
    for stream in (sys.stdout, sys.stderr):
        print(f"== {number}", file=stream, flush=True)
    sys.argv = ["img2img", *arguments]
    try:
        main()
    except SystemExit as done:
        codes.append(done.code or 0)
print("codes", json.dumps(codes))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the example installed, and a package beside it that can't be imported."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, PACKAGE]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline], check=True)
    (folder / "broken.py").write_text("import a_package_that_is_not_installed\n")
    info = folder / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    rows = [f"[img2img.{group}]\nbroken = broken:Row\n" for group in GROUPS]
    (info / "entry_points.txt").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def pairs(emoji, tmp_path_factory) -> Path:
    """16 pairs as the example's layout reads them, and a picture without a partner."""
    folder = tmp_path_factory.mktemp("pairs")
    for style, suffix in (("flat", "a"), ("3d", "b")):
        for path in sorted((emoji / style).iterdir())[:16]:
            shutil.copy(path, folder / f"{path.stem}_{suffix}{path.suffix}")
    shutil.copy(path, folder / f"alone_a{path.suffix}")
    return folder


@pytest.fixture(scope="module")
def commands(site, tmp_path_factory):
    """A function (*command lines) -> for each (exit code, stdout, stderr), with the packages."""
    where = tmp_path_factory.mktemp("commands")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, ROOT)))}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*lines: list[str | Path]) -> list[tuple[int, str, str]]:
        texts = json.dumps([list(map(str, line)) for line in lines])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, texts],
            capture_output=True,
            text=True,
            env=environment,
            cwd=where,
        )
        assert "codes" in done.stdout, done.stderr
        outputs, _, codes = done.stdout.rpartition("codes ")
        parts = [
            [stream.split(f"== {n}\n", 1)[1].split(f"== {n + 1}\n")[0] for n in range(len(lines))]
            for stream in (outputs, done.stderr)
        ]
        return list(zip(json.loads(codes), *parts, strict=True))

    run.where = where
    return run


@pytest.fixture(scope="module")
def trained(commands, pairs):
    """The folder of a run with all five rows of the example, stopped and resumed; and what each
    command printed.
    """
    run = commands.where / "runs" / "mine"
    train = ["train", "--mode", "sharp", "--pairs", pairs, "--name", "mine", *TINY]
    results = commands(
        [*train, "--steps", "4"],
        [*train, "--steps", "6", "--out", "whole"],
        ["train", "--resume", run, "--steps", "6"],
        ["export", run, "--json"],
        ["translate", pairs / "*_a.*", "-o", "translated", "-m", "mine"],
        ["check", pairs, "--mode", "sharp", "--json"],
    )
    for code, _, stderr in results:
        assert code == 0, stderr
    return run, results


def test_its_rows_are_listed_without_being_imported(commands):
    [(code, methods, stderr), (listed, objectives, _)] = commands(
        ["train", "--list-methods"], ["train", "--list-objectives"]
    )
    assert (code, listed) == (0, 0), stderr
    assert "sharp" in methods
    assert "img2img-sharp 1.0 (img2img_sharp.method:Sharp)" in methods
    for name in ("shallow", "edges", "softplus-margin", "suffixed"):
        assert name in methods
    assert "broken 0.1 (broken:Row)" in methods
    assert "softplus-margin" in objectives


def test_all_five_rows_are_in_the_run(trained):
    run, _ = trained
    config = json.loads((run / "config.json").read_text())
    method = config["method"]
    assert config["mode"] == "sharp"
    assert method["generator"] == {"name": "shallow", "width": 4, "depth": 1}
    assert method["discriminator"] == {"name": "edges", "spectral": False, "width": 4, "layers": 2}
    assert (method["objective"], method["gradient"]) == ("softplus-margin", 5.0)
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert {"g/gradient", "g/l1", "g/adversarial"} <= set(header.split(","))
    assert len(rows) == 6
    card = (run / "README.md").read_text()
    assert "A sharp translator" in card
    assert "15 pairs" in card


def test_the_loss_is_zero_for_equal_edges_and_grows_with_their_difference(site, monkeypatch):
    import torch

    monkeypatch.syspath_prepend(site)
    from img2img_sharp.method import gradient_difference

    ramp = torch.linspace(-1, 1, 5).expand(1, 1, 4, 5)
    assert gradient_difference(ramp, -ramp) == 0  # absolute gradients, as in the paper
    assert gradient_difference(ramp, 0 * ramp).item() == pytest.approx(0.5)
    assert gradient_difference(ramp, ramp / 2).item() == pytest.approx(0.25)


def test_pairs_without_a_partner_are_named(trained):
    _, [(_, _, stderr), *_] = trained
    assert "1 files have no partner and are left out" in stderr
    assert "alone_a." in stderr


def test_check_reads_its_layout(trained):
    _, results = trained
    report = json.loads(results[-1][1])
    assert report["mode"] == "sharp"
    assert {role: of["pictures"] for role, of in report["roles"].items()} == {"a": 16, "b": 16}


def test_translate_takes_the_run_by_its_name(trained, commands):
    written = list((commands.where / "translated").glob("*_a.*"))
    assert len(written) == 17


def test_the_exported_model_translates_without_the_package(trained, pairs):
    _, results = trained
    [exported] = json.loads(results[3][1])
    assert exported["max_levels"] <= 1
    picture = read(next(pairs.glob("*_a.*"))).pixels[:49, :35]  # of any size
    output = Translator(exported["file"])(picture)
    assert np.asarray(output).shape == picture.shape


def test_a_resumed_run_has_the_weights_of_one_in_a_piece(trained, commands):
    from safetensors.numpy import load_file

    run, _ = trained
    weights, whole = (
        load_file(folder / "weights.safetensors")
        for folder in (run, commands.where / "whole" / "mine")
    )
    assert weights.keys() == whole.keys()
    assert all(np.array_equal(weights[name], whole[name]) for name in weights)


def test_mistakes_are_refused_by_name_and_a_broken_package_only_where_it_is_named(
    commands, pairs, emoji, tmp_path
):
    train = ["train", "--dry-run", "--pairs", pairs, "--mode"]
    wrong = [
        ([*train, "sharp", "--gradien", "1"], "Did you mean --gradient"),
        ([*train, "sharp", "--generator", "shalow"], "Did you mean shallow"),
        ([*train, "sharp", "--generator", "shallow", "--blocks", "2"], "has no setting blocks"),
        ([*train, "broken"], "The method broken of broken 0.1 (broken:Row) can't be loaded"),
        ([*train, "sharp", "--generator", "broken"], "The generator broken of broken 0.1"),
        ([*train, "sharp", "--discriminator", "broken"], "The discriminator broken of broken"),
        ([*train, "sharp", "--objective", "broken"], "The objective broken of broken 0.1"),
        (["check", "--mode", "sharp", emoji / "flat"], "NAME_a and NAME_b"),
        (["train", "--mode", "sharp", "--data", emoji], "It is not clear how to read"),
    ]
    preset = [*train, "sharp", "--preset", "light", "--size", "32"]
    *results, (code, printed, stderr) = commands(*(line for line, _ in wrong), preset)
    for (line, words), (failed, _, message) in zip(wrong, results, strict=True):
        assert failed in (2, 3), line
        assert words in message, line
    assert code == 0, stderr
    method = json.loads(printed)["method"]
    assert method["generator"]["name"] == "shallow"
    assert method["discriminator"]["name"] == "edges"
