"""Help texts, and errors before any training: one sentence and the right exit code."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from bundles import make_between, make_bundle, make_identity
from command_line import run
from PIL import Image

from img2img.app import page, server
from img2img.infer import nvidia, session
from img2img.intensity import Intensity, stacked
from img2img.methods import METHODS

COMMANDS = [
    *(
        "quickstart",
        "check",
        "train",
        "export",
        "import",
        "translate",
        "demo",
        "serve",
        "evaluate",
        "info",
        "models",
        "doctor",
    ),
]


def start(*arguments) -> subprocess.CompletedProcess:
    """The command line as a process of its own."""
    line = [sys.executable, "-m", "img2img", *arguments]
    return subprocess.run(line, capture_output=True, text=True)


def test_help_lists_the_commands_with_a_line_each():
    shown = run("--help").stdout
    for command in COMMANDS:
        assert f"{command} " in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert f"\n img2img {command}" in done.stdout  # an example


@pytest.mark.parametrize(
    ("shell", "given"),
    [
        ("bash", {"COMP_WORDS": "img2img tr", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "img2img tr"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "img2img tr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_shells_complete_commands_without_heavy_imports(shell, given, tmp_path):
    script = (
        "import sys, atexit\n"
        "heavy = ('torch', 'onnxruntime', 'numpy')\n"
        "atexit.register(lambda: print([m for m in heavy if m in sys.modules], file=sys.stderr))\n"
        "sys.argv = ['img2img']\n"
        "from img2img.cli import main; main()"
    )
    environment = {**os.environ, "_IMG2IMG_COMPLETE": f"complete_{shell}", **given}
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "train" in done.stdout
    assert "translate" in done.stdout
    assert "quickstart" not in done.stdout
    assert done.stderr.strip() == "[]"


def test_no_color_means_no_escape_sequences(tmp_path):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": "1"}
    line = [sys.executable, "-m", "img2img", "models"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "flat-to-3d" in done.stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", done.stdout + done.stderr)


def test_train_takes_the_options_of_the_design():
    shown = run("train", "--help").stdout
    options = (
        "--mode --a --b --pairs --data --name --out --size --batch --epochs --steps --max-time "
        "--precision --device --seed --workers --config --set --resume --dry-run --attributes"
    )
    assert [option for option in options.split() if option not in shown] == []


@pytest.fixture
def folders(tmp_path):
    for name in ("a/1.png", "b/1.png", "a/2.png", "b/2.png", "one/only/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), "red").save(path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"no picture")
    (tmp_path / "bad" / "2.png").write_bytes(b"no picture")
    return tmp_path


PAIR = ["train", "--mode", "cyclegan", "--a", "a", "--b"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train"], 2, "pix2pix, cyclegan, stargan"),
        (["train", "--mode", "dreams"], 2, "no mode dreams"),
        (["train", "--mode", "cyclegan", "--a", "a"], 2, "--b"),
        ([*PAIR, "nowhere"], 3, "no folder nowhere"),
        ([*PAIR, "empty"], 3, "empty has no pictures"),
        ([*PAIR, "bad"], 3, "can't be read"),
        ([*PAIR, "b", "--size", "64", "--resize", "0"], 3, "larger than the smallest picture"),
        ([*PAIR, "b", "--device", "tpu9"], 4, "tpu9 is not available"),
        ([*PAIR, "b", "--set", "widht=3"], 2, "Did you mean --width?"),
        ([*PAIR, "b", "--set", "width"], 2, "key=value"),
        ([*PAIR, "b", "--set", "width=-3"], 2, "width"),
        ([*PAIR, "b", "--max-time", "soon"], 2, "90s, 45m or 2h30m"),
        ([*PAIR, "b", "--name", "../x"], 2, "plain name"),
        ([*PAIR, "b", "--config", "none.yaml"], 3, "none.yaml can't be read"),
        (["train", "--mode", "stargan", "--data", "one", "--size", "64"], 3, "two domains"),
        (["train", "--mode", "pix2pix", "--a", "a", "--b", "one"], 3, "partner"),
        (["train", "--resume", "a"], 3, "not a run"),
        (["train", "--resume", "a", "--mode", "pix2pix"], 2, "--mode from the run; leave it out"),
        (["train", "--resume", "a", "--size", "64"], 2, "--size from the run; leave it out"),
        (["train", "--resume", "a", "--steps", "9", "--test-a", "b"], 2, "--test-a from the run"),
        (["train", "--resume", "a", "--config", "x.yaml"], 2, "--config from the run"),
        (["train", "--resume", "a", "--direction", "ba"], 2, "--direction from the run"),
        ([*PAIR, "b", "--steps", "0"], 2, "steps"),
        ([*PAIR, "b", "--bacth", "4"], 2, "Did you mean --batch?"),
        ([*PAIR, "b", "--ema"], 2, "--ema needs a value"),
        ([*PAIR, "b", "c"], 2, "Unexpected argument c"),
        ([*PAIR, "b", "--set", "betas=[0.5"], 2, "--betas [0.5: a value is missing"),
        ([*PAIR, "b", "--preset", "moder"], 2, "Did you mean modern?"),
        ([*PAIR, "b", "--levels", "5"], 2, "the generator resnet has no setting levels; unet"),
        ([*PAIR, "b", "--precision", "fp8"], 2, "precision"),
        (["export", "a"], 3, "not a run"),
        (["info", "dream"], 3, "no model dream"),
        (["check", "a", "bad"], 3, "2 files can't be read"),
        (["check"], 2, "Give DATA and --test, or --a and --b"),
        (["check", "a", "--a", "a", "--b", "b"], 2, "Give DATA and --test, or --a and --b"),
        ([*PAIR, "b", "--a", "b"], 2, "cyclegan takes one --a, since it also translates to a"),
        (["train", "--mode", "stargan", "--a", "a", "--a", "b"], 2, "Given: --a, --a."),
        (["train", "--mode", "pix2pix", "--a", "a", "--pairs", "b"], 2, "Given: --a, --pairs."),
        (["check", "empty"], 3, "empty has no pictures"),
        (["compare", "a", "--inputs", "b"], 3, "There is no model a"),
        (["evaluate", "--real", "a"], 2, "Give --real DIR and --fake DIR"),
        (["evaluate", "--real", "a", "--fake", "empty"], 3, "empty has no pictures"),
        (["evaluate", "-m", "flat-to-3d", "--data", "."], 2, "has no domains"),
        (["evaluate", "--real", "a", "--fake", "b", "--labels", "a"], 2, "--segmenter FILE needs"),
        (["import", "nowhere.pth"], 3, "no file or folder nowhere.pth"),
        (["import", "a"], 3, "a has no generators"),
        (["import", "bad/1.png"], 3, "damaged, or no checkpoint of torch"),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(arguments, code, said, folders):
    done = run(*arguments, cwd=folders)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folders / "runs").exists()


def test_a_published_checkpoint_becomes_a_bundle_in_one_command(folders):
    golden = Path(__file__).parents[1] / "data" / "golden"
    generator = golden / "cyclegan" / "init_net_G_B.pth"
    done = run("import", generator, "--name", "zebra", "--licence", "CC0-1.0", cwd=folders)
    assert done.returncode == 0, done.stderr
    assert "Read as the ResNet of CycleGAN's authors: transposed convolutions" in done.stdout
    assert "runs/zebra/export/zebra-ba.onnx" in done.stdout
    told = json.loads(run("info", "zebra", "--json", cwd=folders).stdout)
    assert (told["method"], told["direction"], told["licence"]) == ("cyclegan", "ba", "CC0-1.0")
    assert "init_net_G_B.pth" in run("info", "zebra", cwd=folders).stdout
    translated = run("translate", "a", "-o", "out", "-m", "zebra", cwd=folders)
    assert translated.returncode == 0, translated.stderr
    assert sorted(path.name for path in (folders / "out").glob("*.png")) == ["1.png", "2.png"]


def test_an_import_that_fails_does_not_take_the_name(folders, monkeypatch):
    generator = Path(__file__).parents[1] / "data" / "golden" / "cyclegan" / "init_net_G_B.pth"

    before = sorted(folders.iterdir())

    def full(run, *arguments, **options):
        assert (run / "config.json").exists()
        raise OSError(errno.ENOSPC, "No space left on device", "x.onnx")

    with monkeypatch.context() as patch:
        patch.setattr("img2img.export.run.export_run", full)
        failed = run("import", generator, "--name", "zebra", cwd=folders)
    assert (failed.returncode, failed.stderr) == (
        1,
        "img2img: x.onnx: No space left on device. Free disk space.\n",
    )
    assert sorted(folders.iterdir()) == before

    def nothing(run, *arguments, **options):
        (run / "export").mkdir()
        return []

    monkeypatch.setattr("img2img.export.run.export_run", nothing)
    assert run("import", generator, "--name", "zebra", cwd=folders).returncode == 0
    made = {path.name for path in (folders / "runs" / "zebra").iterdir()}
    assert made == {"config.json", "weights.safetensors", "README.md", "export"}
    again = run("import", generator, "--name", "zebra", cwd=folders)
    assert (again.returncode, "runs/zebra exists" in again.stderr) == (2, True)


def test_check_tells_pairs_from_sets_and_domains(folders):
    for arguments, mode in (
        (["a", "b"], "pix2pix"),
        (["a", "one"], "cyclegan"),
        ([".", "--mode", "stargan"], None),
        (["a", "b", "--mode", "cyclegan"], "cyclegan"),
    ):
        done = run("check", *arguments, "--json", cwd=folders)
        if mode:
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["mode"] == mode
        else:
            assert done.returncode == 3  # bad/ and empty/ are among its domains
    told = json.loads(run("check", "a", "b", "--json", cwd=folders).stdout)
    assert told["roles"]["a"]["pictures"] == 2
    assert "identical files" in " ".join(finding["what"] for finding in told["findings"])


def test_check_takes_several_inputs(folders):
    done = run("check", "--a", "a", "--a", "b", "--b", "b", "--json", cwd=folders)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["mode"] == "pix2pix"
    assert list(told["roles"]) == ["a", "a (folder 2)", "b"]
    told = json.loads(run("check", "--a", "a", "--b", "one", "--json", cwd=folders).stdout)
    assert told["mode"] == "cyclegan"


def test_several_inputs_are_in_the_name_and_the_config_of_a_run(folders, tmp_path):
    (tmp_path / "c.yaml").write_text("a: [a, b]\nb: b")
    for given in (["--a", "a", "--a", "b", "--b", "b"], ["--config", tmp_path / "c.yaml"]):
        arguments = [*given, "--size", "32", "--dry-run", "--out", tmp_path / "runs"]
        done = run("train", "--mode", "pix2pix", *arguments, cwd=folders)
        assert done.returncode == 0, done.stderr
        config = json.loads(done.stdout)
        assert config["name"].startswith("pix2pix-a-b-b")
        assert config["sources"]["more_a"] == [str(folders / "b")]
        assert config["method"]["in_channels"] == 6


def test_info_tells_the_parity_in_units(tmp_path):
    made = make_identity(
        tmp_path / "m.onnx",
        Intensity(dtype="int16", bands=("1",), low=(-1024,), high=(3071,), unit="HU"),
    )
    content = onnx.load(made)
    [described] = [entry for entry in content.metadata_props if "parity" in entry.value]
    parity = {"mean_levels": 0.04, "max_levels": 0.5}
    described.value = json.dumps(json.loads(described.value) | {"parity": parity})
    onnx.save(content, made)
    told = run("info", str(made))
    assert "0.642 HU from torch on average, at most 8.03 HU" in told.stdout


def test_info_shows_each_input(tmp_path):
    sar = Intensity(
        name="sar",
        dtype="float32",
        bands=("1",),
        low=(-25,),
        high=(5,),
        decibels=True,
        rule="asked",
    )
    optical = Intensity(
        name="optical", dtype="uint16", bands=("red", "nir"), low=(0, 0), high=(9, 9)
    )
    model = make_between(tmp_path / "m.onnx", stacked([optical, sar]), None)
    shown = run("info", model).stdout
    assert "float32, 3 bands (red, nir, sar 1) of 2 inputs: optical, sar, in this order" in shown
    assert "optical: uint16, 2 bands (red, nir), 0:9" in shown
    assert "sar: float32, 1 band, -25:5 dB (asked)" in shown


def test_evaluate_gives_json_and_csv(folders):
    arguments = ["--real", "a", "--fake", "b", "--json", "--csv", "numbers.csv"]
    done = run("evaluate", *arguments, cwd=folders)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {metric["name"]: metric["value"] for metric in told["metrics"]}["l1"] == 0
    assert "lite0_kernel" in told["left_out"]
    rows = (folders / "numbers.csv").read_text().splitlines()
    assert rows[0].startswith("name,value,low,high")
    assert len(rows) == 5  # l1, psnr, ssim, lite0_perceptual


def test_objectives_are_listed_with_formula_paper_and_needs(tmp_path):
    done = run("train", "--list-objectives", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    for part in ("rpgan", "wgan-gp", "max(0, 1 - r)", "Mao et al.", "R1 and R2 (--r1 1 --r2 1)"):
        assert part in told


@pytest.mark.parametrize(
    ("mode", "preset", "said"),
    [
        (
            "pix2pix",
            "paper",
            "--objective bce Adversarial objective; --list-objectives prints the formulas.",
        ),
        ("cyclegan", "modern", "--generator-lr 0.0005 Learning rate of the generators."),
        ("stargan", "paper", "--pretrained Run, or .safetensors file of a run"),
    ],
)
def test_settings_are_listed_with_what_they_mean(tmp_path, mode, preset, said):
    done = run("train", "--list-settings", "--mode", mode, "--preset", preset, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in " ".join(done.stdout.replace("│", " ").split())
    described = [line.split("│")[3].strip() for line in done.stdout.splitlines() if "│ --" in line]
    assert len(described) > 40
    assert all(described)


def test_methods_are_listed_with_their_papers_and_presets(tmp_path):
    done = run("train", "--list-methods", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.replace("│", " ").split())
    for method in METHODS.builtin:
        assert method in printed
    assert "Zhu et al. 2017" in printed
    assert "paper, modern" in printed


def test_settings_are_listed_with_the_values_of_the_other_options(tmp_path):
    options = ["--mode", "pix2pix", "--generator", "resnet", "--blocks", "3", "--seed", "5"]
    done = run("train", "--list-settings", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.replace("│", " ").split())
    assert "--blocks 3 Residual blocks; by default 6 up to size 128" in printed
    assert "--generator resnet" in printed
    assert "--seed 5" in printed
    assert "--levels" not in printed


def test_dry_run_prints_a_config_that_starts_the_same_run(folders):
    first = run(*PAIR, "b", "--size", "32", "--seed", "7", "--dry-run", cwd=folders)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["seed"] == 7
    (folders / "config.json").write_text(first.stdout)
    second = run("train", "--config", "config.json", "--dry-run", cwd=folders)
    assert json.loads(second.stdout) == json.loads(first.stdout)
    assert not (folders / "runs").exists()


def test_every_setting_is_an_option(folders):
    options = ["--identity", "0", "--objective=hinge", "--no-flip", "--save-every", "7"]
    options += [
        "--augment",
        "[colour, cutout]",
        "--spectral",
        "--d-steps",
        "2",
        "--dropout",
        "True",
    ]
    done = run(*PAIR, "b", "--size", "32", *options, "--dry-run", cwd=folders)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    method = config["method"]
    assert (method["identity"], method["objective"], method["flip"]) == (0, "hinge", False)
    assert method["augment"] == ["colour", "cutout"]
    assert (method["discriminator"]["spectral"], method["d_steps"]) == (True, 2)
    assert method["generator"]["dropout"] is True
    assert config["save_every"] == 7


def test_the_same_command_begins_goes_on_and_is_done(folders):
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "6", "--save-every", "2"]
    command = [*PAIR, "b", *small, "--batch", "2", "--eval-every", "0", "--resume", "auto"]
    first = run(*command, "--max-time", "0s", cwd=folders)
    assert first.returncode == 0, first.stderr
    assert "The time is up; saved at step 1." in first.stderr
    other = run(*command, "--seed", "1", cwd=folders)
    assert other.returncode == 2
    assert "was started with other settings (seed 0, not 1)" in other.stderr
    second = run(*command, cwd=folders)
    assert second.returncode == 0, second.stderr
    assert "6 steps from step 1" in second.stderr
    assert "is complete: all 6 steps are done" in run(*command, cwd=folders).stderr
    assert len(list((folders / "runs").iterdir())) == 1


def test_a_finished_run_goes_on_with_a_new_length_and_rate(folders):
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "2", "--eval-every", "0"]
    assert run(*PAIR, "b", *small, "--name", "x", cwd=folders).returncode == 0
    longer = ["train", "--resume", "runs/x", "--steps", "4", "--generator-lr", "1e-4"]
    planned = run(*longer, "--dry-run", cwd=folders)
    assert json.loads(planned.stdout)["method"]["steps"] == 4
    assert "--steps" in run(*longer, "--list-settings", cwd=folders).stdout
    saved = json.loads((folders / "runs" / "x" / "config.json").read_text())
    assert (saved["method"]["steps"], saved["history"]) == (2, [])  # nothing was begun
    done = run(*longer, "--set", "decay=0.25", cwd=folders)
    assert done.returncode == 0, done.stderr
    assert "generator_lr 0.0001 (was 0.0002)" in done.stderr
    assert "4 steps from step 2" in done.stderr
    config = json.loads((folders / "runs" / "x" / "config.json").read_text())
    assert (config["method"]["steps"], config["method"]["decay"]) == (4, 0.25)
    assert [(past["until"], past["steps"], past["decay"]) for past in config["history"]] == [
        (2, 2, 0.5)
    ]
    assert "is complete: all 4 steps" in run(*longer, cwd=folders).stderr
    refused = run("train", "--resume", "runs/x", "--ema", "0.9", cwd=folders)
    assert refused.returncode == 2
    assert "--resume takes --ema from the run; leave it out" in refused.stderr
    lower = run("train", "--resume", "runs/x", "--generator-lr", "1e-5", cwd=folders)
    assert lower.returncode == 2
    assert "nothing is left to train" in lower.stderr


def test_a_run_begins_in_a_folder_that_is_empty(folders):
    """As a process leaves it that is killed before config.json is written."""
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "1", "--eval-every", "0"]
    for name, resume in (("x", []), ("my run", ["--resume", "auto"])):
        (folders / "runs" / name).mkdir(parents=True)
        done = run(*PAIR, "b", *small, "--name", name, *resume, cwd=folders)
        assert done.returncode == 0, done.stderr
    assert "Next: img2img export 'runs/my run'" in done.stderr
    taken = run(*PAIR, "b", *small, "--name", "my run", cwd=folders)
    assert taken.returncode == 2
    assert "Continue it with --resume 'runs/my run', or choose another --name" in taken.stderr
    (folders / "runs" / "other").mkdir()
    (folders / "runs" / "other" / "notes.txt").touch()
    taken = run(*PAIR, "b", *small, "--name", "other", cwd=folders)
    assert "runs/other exists. Choose another --name" in taken.stderr


def test_a_run_without_its_checkpoint_is_not_begun_again(folders):
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "2", "--eval-every", "0"]
    begin = [*PAIR, "b", *small, "--name", "my run"]
    assert run(*begin, cwd=folders).returncode == 0
    weights = (folders / "runs" / "my run" / "weights.safetensors").read_bytes()
    (folders / "runs" / "my run" / "checkpoints" / "last.pt").unlink()
    for again in (["train", "--resume", "runs/my run"], [*begin, "--resume", "auto"]):
        refused = run(*again, cwd=folders)
        assert refused.returncode == 3
        assert "has weights, but no checkpoints/last.pt to resume from" in refused.stderr
    assert (folders / "runs" / "my run" / "weights.safetensors").read_bytes() == weights
    (folders / "runs" / "my run" / "checkpoints" / "last.pt").touch()  # and damaged
    refused = run("train", "--resume", "runs/my run", cwd=folders)
    assert refused.returncode == 3
    assert "damaged" in refused.stderr
    advice = shlex.split(refused.stderr.strip().partition("img2img train ")[2])
    done = run("train", *advice, "--steps", "1", cwd=folders)
    assert done.returncode == 0, done.stderr
    config = json.loads((folders / "runs" / "my run-2" / "config.json").read_text())
    assert config["pretrained"] == str(folders / "runs" / "my run")


@pytest.fixture
def beside(tmp_path):
    """A folder of two domains, in which runs go to runs/; with what storage boxes put there."""
    for name in ("happy/1.png", "happy/2.png", "sad/1.png", "sad/2.png", "happy/@eaDir/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), "red").save(path)
    (tmp_path / "happy" / "1.mp4").touch()
    (tmp_path / "notes.pdf").touch()
    return tmp_path


HAPPY_SAD = ["--mode", "cyclegan", "--a", "happy", "--b", "sad"]
SMALL = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "2", "--sample-every", "1"]
SMALL += ["--batch", "2", "--eval-every", "0", "--device", "cpu", "--workers", "0", "--name", "x"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["--mode", "cyclegan", "--a", ".", "--b", "sad"], "3 pictures of a, 1 of b"),
        (["--mode", "stargan", "--data", "."], "2 pictures (happy 1, sad 1)"),
    ],
)
def test_a_run_in_the_folder_of_its_data_is_no_data_and_can_be_resumed(beside, data, said):
    first = run("train", *data, *SMALL, "--d-layers", "2", cwd=beside)
    assert first.returncode == 0, first.stderr
    assert said in first.stderr
    assert "passed over: 1 .mp4" in first.stderr.replace("1 .pdf, ", "").replace(", 1 .pdf", "")
    assert list((beside / "runs" / "x" / "samples").glob("*.png"))
    again = run("train", "--resume", "runs/x", cwd=beside)
    assert again.returncode == 0, again.stderr
    assert "is complete" in again.stderr
    assert "1 folder that img2img wrote passed over (first: " in again.stderr
    other = run("train", *data, *SMALL, "--d-layers", "2", "--name", "y", cwd=beside)
    assert said in other.stderr


def test_check_tells_what_is_passed_over_and_takes_no_run_for_a_domain(beside):
    config = {"mode": "pix2pix", "method": {}, "sources": {}}
    (beside / "runs" / "x").mkdir(parents=True)
    (beside / "runs" / "x" / "config.json").write_text(json.dumps(config))
    Image.new("RGB", (40, 40)).save(beside / "runs" / "x" / "sample.png")
    told = json.loads(run("check", ".", "--json", cwd=beside).stdout)
    assert told["mode"] == "stargan"
    assert told["roles"].keys() == {"happy", "sad"}
    assert told["roles"]["happy"]["pictures"] == 2
    notes = [finding["what"] for finding in told["findings"] if finding["level"] == "note"]
    assert any(note.startswith("2 files passed over: 1 .mp4, 1 .pdf; 1 folder") for note in notes)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode", "cyclegan", "--a", "caf\udce9", "--b", "sad"],
        [*HAPPY_SAD, "--out", "caf\udce9"],
        [*HAPPY_SAD, "--name", "caf\udce9"],
        [*HAPPY_SAD, "--test-a", "caf\udce9", "--test-b", "sad"],
        ["--mode", "stargan", "--data", ".", "--d-layers", "2"],
    ],
)
def test_a_name_that_is_not_utf8_is_refused_before_there_is_a_run(beside, arguments):
    shutil.copytree(beside / "happy", beside / "caf\udce9")
    done = run("train", *SMALL[:-2], *arguments, cwd=beside)
    assert done.returncode == 3, done.stderr
    assert r"caf\xe9" in done.stderr
    assert "not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (beside / "runs").exists()
    assert len(list((beside / "caf\udce9").iterdir())) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_check_takes_and_prints_names_of_any_bytes(beside):
    shutil.copytree(beside / "happy", beside / "caf\udce9")
    (beside / "caf\udce9" / "\x1b[31m\udcff.png").write_bytes(b"no picture")
    done = start("check", str(beside / "caf\udce9"), str(beside / "sad"), "--mode", "cyclegan")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert r"\x1b[31m\xff.png: not a picture" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="names without control characters")
def test_warnings_print_names_without_control_characters(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "\x1b[31mred.onnx").write_bytes(b"no model")
    code = """
import sys
from img2img.app.models import Models
from img2img.cli import main
sys.argv = ["img2img", "--version"]
try:
    main()
except SystemExit:
    Models([])
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert r"\x1b[31mred.onnx is not an ONNX model" in done.stderr
    assert "\x1b" not in done.stderr


def test_bf16_is_not_compiled_on_a_cpu(folders):
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "1", "--eval-every", "0"]
    done = run(
        *PAIR, "b", *small, "--device", "cpu", "--precision", "bf16", "--compile", cwd=folders
    )
    assert done.returncode == 0, done.stderr
    assert "Not compiled" in done.stderr
    assert "Compiling the networks" not in done.stderr


def test_version_is_printed():
    import img2img

    assert start("--version").stdout.strip() == img2img.__version__


def test_a_process_ends_with_the_code_and_no_traceback():
    done = start("export", "nowhere")
    assert done.returncode == 3
    assert "not a run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    nvidia.driver() is not None or "cuda" not in session.available(),
    reason="a driver, or an onnxruntime without CUDA",
)
def test_doctor_tells_what_a_gpu_with_a_driver_alone_lacks(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: True)
    providers = json.loads(run("doctor", "--json").stdout)["inference"]["providers"]
    assert providers["cpu"] == "works"
    assert "img2img-gan[cuda]" in providers["cuda"]


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_servers_take_the_number_of_threads(command, tmp_path, monkeypatch):
    """Where they would start."""
    used = []
    monkeypatch.setattr(server, "run", lambda settings, *_: used.append(settings.load()))
    monkeypatch.setattr(page, "launch", lambda models, *_: used.append(models))
    model = str(make_bundle(tmp_path / "invert.onnx"))
    options = ("--provider", "cpu", "--threads", "3", "--port", "8765")
    assert run(command, "-m", model, *options).returncode == 0
    assert used[0].get(used[0].names[0]).threads == 3


@pytest.fixture
def published(tmp_path):
    """Data sets as they are published, with a test part that nothing may be trained on."""
    layouts = {
        "facades": ("train", "val", "test"),
        "horse2zebra": ("trainA", "trainB", "testA", "testB"),
        "maps": ("trainA", "trainB", "testA", "testB"),
        "rafd": ("train/happy", "train/sad", "test/happy", "test/sad"),
    }
    emoji = sorted((Path(__file__).parents[2] / "examples/quickstart/train/flat").iterdir())
    for name, parts in layouts.items():
        for number, part in enumerate(parts):
            folder = tmp_path / name / part
            folder.mkdir(parents=True)
            for picture in range(3):
                file = "zebra" if (name, part[-1]) == ("horse2zebra", "B") else "x"
                shutil.copy(emoji[40 * number + picture], folder / f"{file}{picture}.webp")
    return tmp_path


@pytest.mark.parametrize(
    ("data", "mode", "roles", "said"),
    [
        ("facades", "pix2pix", ["pairs", "test pairs"], "training on train, held out test"),
        ("horse2zebra", "cyclegan", ["a", "b", "test a", "test b"], "held out testA and testB"),
        ("maps", "pix2pix", ["a", "b", "test a", "test b"], "training on trainA and trainB"),
        ("rafd", "stargan", ["happy", "sad", "test happy", "test sad"], "held out test"),
    ],
)
def test_check_tells_what_a_published_data_set_is_for(published, data, mode, roles, said):
    done = run("check", data, "--json", cwd=published)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["mode"] == mode
    assert {role: found["pictures"] for role, found in told["roles"].items()} == dict.fromkeys(
        roles, 3
    )
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sources", "test"),
    [
        (
            ["pix2pix", "--pairs", "facades", "--direction", "ba"],
            {"pairs": "facades/train", "swap": True},
            {"pairs": "facades/test"},
        ),
        (["pix2pix", "--data", "facades"], {"pairs": "facades/train"}, {"pairs": "facades/test"}),
        (
            ["cyclegan", "--data", "horse2zebra"],
            {"a": "horse2zebra/trainA", "b": "horse2zebra/trainB"},
            {"a": "horse2zebra/testA", "b": "horse2zebra/testB"},
        ),
        (
            ["stargan", "--data", "rafd", "--d-layers", "3"],
            {"data": ["rafd/train"]},
            {"data": ["rafd/test"]},
        ),
    ],
)
def test_a_published_data_set_is_recorded_by_its_parts(published, arguments, sources, test):
    def absolute(folders: dict) -> dict:
        return {
            key: [str(published / path) for path in value]
            if isinstance(value, list)
            else value
            if value is True
            else str(published / value)
            for key, value in folders.items()
        }

    mode, data = arguments[0], arguments[2]
    line = ["train", "--mode", *arguments, "--size", "32", "--dry-run"]
    done = run(*line, cwd=published)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    for key, expected in (("sources", sources), ("test", test)):
        recorded = {name: value for name, value in config[key].items() if value}
        assert recorded == absolute(expected)
    assert config["name"] == f"{mode}-{data}"
    assert done.stderr.count(f"{data} has ") == 1
    (published / "config.json").write_text(done.stdout)
    again = run("train", "--config", "config.json", "--dry-run", cwd=published)
    assert json.loads(again.stdout) == config
    assert " has " not in again.stderr


def test_a_run_on_a_published_data_set_goes_on_and_is_exported(published):
    small = ["--size", "32", "--width", "4", "--d-width", "4", "--steps", "6", "--save-every", "2"]
    command = ["train", "--mode", "cyclegan", "--data", "horse2zebra", *small]
    command += ["--batch", "2", "--eval-every", "0", "--blocks", "1", "--resume", "auto"]
    first = run(*command, "--max-time", "0s", cwd=published)
    assert "saved at step 1" in first.stderr
    assert "held out testA and testB" in first.stderr
    second = run(*command, cwd=published)
    assert second.returncode == 0, second.stderr
    assert "6 steps from step 1" in second.stderr
    exported = run("export", "runs/cyclegan-horse2zebra", cwd=published)
    assert exported.returncode == 0, exported.stderr


def test_other_training_folders_take_the_held_out_ones_of_a_config_along(published):
    first = run("train", "--mode", "cyclegan", "--data", "horse2zebra", "--dry-run", cwd=published)
    (published / "config.json").write_text(first.stdout)
    other = ["--a", "rafd/train/happy", "--b", "rafd/train/sad"]
    second = run("train", "--config", "config.json", *other, "--dry-run", cwd=published)
    assert second.returncode == 0, second.stderr
    assert not any(json.loads(second.stdout)["test"].values())


@pytest.fixture
def celeba(folders):
    """A list about a/1.png, a/2.png and one that isn't there; and a/3.png, which it lacks."""
    Image.new("RGB", (40, 40), "red").save(folders / "a" / "3.png")
    rows = ("1.png,yes,True,0", "2.png,no,1.0,0", "9.png,no,True,0")
    (folders / "list.csv").write_text("\n".join(["image_id,Male,Young,Bald", *rows]))
    return folders


LISTED = ["train", "--mode", "stargan", "--data", "a", "--attributes", "list.csv", "--attribute"]


def test_what_an_attribute_list_lacks_or_has_too_much_is_told(celeba):
    small = ["--size", "32", "--d-layers", "3", "--dry-run"]
    done = run(*LISTED, "Male", *small, cwd=celeba)
    assert done.returncode == 0, done.stderr
    assert "1 files of the attribute list are not in the folder and are left out: a/9.png" in (
        done.stderr
    )
    assert "1 files of the folder are not in the attribute list and are left out: a/3.png" in (
        done.stderr
    )
    assert "partner" not in done.stderr
    checked = run("check", *LISTED[4:], "Male", cwd=celeba)
    assert "1 files of the folder are not in the attribute list" in checked.stdout


@pytest.mark.parametrize(("attribute", "whose"), [("Young", "All"), ("Bald", "None")])
def test_an_attribute_of_all_pictures_or_of_none_is_refused(celeba, attribute, whose):
    said = f"{whose} of the 2 pictures have {attribute}, so it can't be learned."
    small = ["--size", "32", "--d-layers", "3"]
    for command in ([*LISTED, attribute, *small], ["check", *LISTED[4:], attribute]):
        done = run(*command, cwd=celeba)
        assert done.returncode == 3
        assert said in done.stderr
    assert not (celeba / "runs").exists()
