"""`img2img translate` as a user or a script meets it: streams, exit codes, files."""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from img2img import cli
from img2img.images import WRITERS
from img2img.manifest import METADATA_KEY

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="names that Windows refuses")

INVERT = """
<ir_version: 10, opset_import: ["" : 20]>
invert (uint8[N, H, W, 3] image) => (uint8[N, H, W, 3] translated) {
    translated = BitwiseNot(image)
}
"""

SHIFT = """
<ir_version: 10, opset_import: ["" : 20]>
shift (uint8[N, H, W, 3] image, float[N, 2] domain) => (uint8[N, H, W, 3] translated)
<float[2, 1] offsets = {10.0, 20.0}, int64[4] each = {-1, 1, 1, 1}> {
    pixels = Cast <to = 1> (image)
    flat = MatMul(domain, offsets)
    offset = Reshape(flat, each)
    moved = Add(pixels, offset)
    translated = Cast <to = 2> (moved)
}
"""


def has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """A folder with a model (255 - x) and no pictures."""
    monkeypatch.chdir(tmp_path)
    write_model("m.onnx", INVERT)


def write_model(path: str, text: str, *domains: str, palette: tuple[tuple[int, ...], ...] = ()):
    model = onnx.parser.parse_model(text)
    said = {"name": "inverter", "method": "pix2pix", "direction": "ab"}
    said |= {"size_multiple": 1, "trained_size": 8}
    if domains:
        said["labels"] = {"sets": [{"kind": "classes", "domains": domains}]}
    said["palette"] = palette
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(said)})
    Path(path).write_bytes(model.SerializeToString())


def picture(path: str, seed: int = 0, height: int = 6, width: int = 9) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def load(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def fresh(*command: str) -> subprocess.CompletedProcess:
    """Run Python in a process of its own, as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=120
    )


def img2img(*arguments: str) -> subprocess.CompletedProcess:
    return fresh("-m", "img2img", *arguments)


@pytest.fixture
def run(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """The same within this process, where it is quicker: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["img2img", *arguments])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capfd.readouterr()

    return call


def one_sentence(text: str) -> bool:
    """What a user is told: one line that says who speaks, and no traceback."""
    return text.startswith("img2img: ") and text.count("\n") == 1 and "Traceback" not in text


# --- in a process of its own ----------------------------------------------------------------


def test_success_is_exit_0_with_nothing_but_the_summary():
    pixels = picture("in/x/a.png")
    result = img2img("translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu")
    assert result.returncode == 0
    assert result.stdout == ""
    assert "1 translated, 0 skipped, 0 failed" in result.stderr
    assert result.stderr.count("\n") == 1
    assert np.array_equal(load("out/x/a.png"), 255 - pixels)


def test_json_is_alone_on_stdout_even_where_some_inputs_failed_which_is_exit_5():
    pixels = picture("in/a.png")
    Path("in/b.png").write_bytes(b"hello")
    result = img2img("translate", "in", "-o", "out", "-m", "m.onnx", "--json", "--provider", "cpu")
    assert result.returncode == 5
    summary = json.loads(result.stdout)
    assert (summary["done"], summary["skipped"], summary["provider"]) == (1, 0, "cpu")
    assert summary["output"] == "out"
    assert [name for name, _ in summary["failed"]] == [os.path.join("in", "b.png")]
    assert "b.png: not a picture" in result.stderr
    assert "Traceback" not in result.stderr
    assert np.array_equal(load("out/a.png"), 255 - pixels)


def test_what_pictures_lose_is_said_with_a_count(run):
    Path("in").mkdir()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for name in ("x.gif", "y.gif", "z.tif"):
        frames[0].save(f"in/{name}", save_all=True, append_images=frames[1:])
    picture("in/still.png")
    command = "translate", "in", "-m", "m.onnx", "--provider", "cpu"
    code, out, err = run(*command, "-o", "out")
    first = os.path.join("in", "x.gif")
    kind = "animated or multi-page; the first frame was used"
    assert (code, out) == (0, "")
    assert err.splitlines()[1:] == [f"3 pictures: {kind} (first: {first})"]
    _, out, err = run(*command, "-o", "again", "--json")
    assert json.loads(out)["notes"] == {kind: {"pictures": 3, "first": first}}
    assert err == ""
    _, _, err = run(*command, "-o", "small", "--max-side", "8", "in/still.png")
    assert "1 picture: made smaller (first: " in err


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["in", "-o", "out", "-m", "m.onnx", "--to", "dusk"]),
        (3, ["in", "-o", "out", "-m", "no-such-model"]),
        pytest.param(
            4,
            ["in", "-o", "out", "-m", "m.onnx", "--provider", "cuda"],
            marks=pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver"),
        ),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_its_exit_code(code, arguments):
    picture("in/a.png")
    result = img2img("translate", *arguments, "--json")
    assert (result.returncode, result.stdout) == (code, "")
    assert one_sentence(result.stderr), result.stderr
    assert not Path("out").exists()


HEAVY = ("torch", "torchvision", "onnx", "cv2", "albumentations", "onnxscript", "tensorboard")


def test_translating_imports_nothing_of_the_training_side():
    picture("in/a.png")
    result = fresh(
        "-c",
        "import sys\nfrom img2img.cli import main\n"
        "sys.argv = ['img2img', 'translate', 'in', '-o', 'out', '-m', 'm.onnx', '--json']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])",
    )
    assert result.returncode == 0, result.stderr
    summary, loaded = result.stdout.splitlines()
    assert json.loads(summary)["done"] == 1
    assert loaded == "[]"


def test_help_imports_nothing_heavy_and_lists_the_commands():
    heavy = (*HEAVY, "onnxruntime", "numpy", "PIL", "pydantic")
    result = fresh(
        "-c",
        "import sys\nfrom img2img.cli import main\nsys.argv = ['img2img', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print([name for name in {heavy} if name in sys.modules])",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    for command in ("train", "export", "translate", "info", "doctor", "quickstart"):
        assert command in result.stdout


# --- exit codes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--existing", "maybe"],
        ["--ext", "gif"],
        ["--shard", "3/2"],
        ["--shard", "one"],
        ["--to", "dusk"],
    ],
)
def test_an_option_that_makes_no_sense_is_exit_2_and_one_sentence(run, options):
    picture("in/a.png")
    code, out, err = run("translate", "in", "-o", "out", "-m", "m.onnx", *options)
    assert (code, out) == (2, "")
    assert one_sentence(err)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["in"],
        ["in", "-o", "out"],
        ["in", "-o", "out", "-m", "m.onnx", "--no-such-option"],
        ["in", "-o", "out", "-m", "m.onnx", "--batch", "0"],
        ["in", "-o", "out", "-m", "m.onnx", "--quality", "101"],
    ],
)
def test_a_command_that_is_incomplete_or_misspelled_is_exit_2(run, arguments):
    picture("in/a.png")
    code, out, err = run("translate", *arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("output", ["out", "out.png"])
def test_a_missing_input_is_exit_3(run, output):
    code, out, err = run("translate", "nothing", "-o", output, "-m", "m.onnx")
    assert (code, out) == (3, "")
    assert one_sentence(err)
    assert "nothing" in err


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_model_that_is_none_is_exit_3_without_noise(run, content):
    picture("in/a.png")
    Path("bad.onnx").write_bytes(content)
    code, out, err = run("translate", "in", "-o", "out", "-m", "bad.onnx", "--provider", "cpu")
    assert (code, out) == (3, "")
    assert one_sentence(err)


def test_two_inputs_that_would_become_one_file_are_exit_3(run):
    picture("in/a.png")
    picture("in/a.jpg")
    code, _, err = run("translate", "in", "-o", "out", "-m", "m.onnx", "--ext", "png")
    assert code == 3
    assert one_sentence(err)
    assert not Path("out").exists()


def test_an_output_folder_that_is_a_file_is_told_without_a_traceback(run):
    picture("in/a.png")
    Path("out").write_text("a file")
    code, out, err = run("translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu")
    assert code in (1, 2, 3)
    assert out == ""
    assert one_sentence(err)
    assert Path("out").read_text() == "a file"


def test_an_interrupt_is_exit_130_and_the_next_run_does_the_rest(run, monkeypatch):
    from img2img.infer.translator import Translator

    pictures = {f"{i:02}.png": picture(f"in/{i:02}.png", i) for i in range(30)}
    command = "translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu", "--json"
    real, calls = Translator.__call__, []

    def interrupted(self, images, to=None):
        calls.append(1)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return real(self, images, to)

    with monkeypatch.context() as patch:
        patch.setattr(Translator, "__call__", interrupted)
        code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    code, out, err = run(*command)
    assert code == 0, err
    summary = json.loads(out)
    assert summary["done"] + summary["skipped"] == 30
    assert summary["skipped"] > 0
    for name, pixels in pictures.items():
        assert np.array_equal(load(f"out/{name}"), 255 - pixels)


# --- one file into one file -----------------------------------------------------------------


def test_one_file_can_be_given_its_output_file(run):
    pixels = picture("a.png")
    command = "translate", "a.png", "-o", "new/sub/b.png", "-m", "m.onnx", "--provider", "cpu"
    assert run(*command)[0] == 0
    assert np.array_equal(load("new/sub/b.png"), 255 - pixels)


def test_an_output_file_that_exists_is_replaced_only_when_asked(run):
    pixels = picture("a.png")
    old = picture("b.png", 7)
    command = "translate", "a.png", "-o", "b.png", "-m", "m.onnx", "--provider", "cpu"
    code, _, err = run(*command)
    assert code == 3
    assert one_sentence(err)
    assert np.array_equal(load("b.png"), old)
    assert run(*command, "--existing", "replace")[0] == 0
    assert np.array_equal(load("b.png"), 255 - pixels)


@pytest.mark.parametrize("output", ["a.png", "./a.png", ".", "../{}"])
@pytest.mark.parametrize("existing", ["skip", "replace"])
def test_an_input_is_never_replaced(run, tmp_path, output, existing):
    picture("a.png")
    before = hashlib.sha256(Path("a.png").read_bytes()).hexdigest()
    output = output.format(tmp_path.name)
    code, _, err = run(
        "translate", "a.png", "-o", output, "-m", "m.onnx", "--provider", "cpu",
        "--existing", existing,
    )  # fmt: skip
    assert hashlib.sha256(Path("a.png").read_bytes()).hexdigest() == before
    assert code == 3
    assert one_sentence(err)


def test_a_file_into_a_folder_that_is_named_like_a_picture_goes_into_it(run):
    pixels = picture("a.png")
    Path("set.png").mkdir()
    assert run("translate", "a.png", "-o", "set.png", "-m", "m.onnx", "--provider", "cpu")[0] == 0
    assert np.array_equal(load("set.png/a.png"), 255 - pixels)


@pytest.mark.parametrize("name", ["out.gif", "out.HEIC", "out.txt", "out.pdf", "out.mp4"])
def test_a_file_that_can_not_be_written_is_refused_by_name(run, name):
    picture("a.png")
    code, out, err = run("translate", "a.png", "-o", name, "-m", "m.onnx", "--provider", "cpu")
    assert (code, out) == (2, "")
    assert one_sentence(err)
    assert f"{name}: {Path(name).suffix.lower()} can't be written" in err
    assert ".png" in err
    assert not Path(name).exists()


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_every_format_that_can_be_written_makes_a_file(run, suffix):
    picture("a.png")
    name = f"out{suffix}"
    code, _, err = run("translate", "a.png", "-o", name, "-m", "m.onnx", "--provider", "cpu")
    assert code == 0, err
    with Image.open(name) as made:
        assert made.size == (9, 6)


def test_label_maps_are_written_without_a_loss(run):
    write_model("labels.onnx", INVERT, palette=((0, 0, 0), (255, 255, 255)))
    picture("in/a.jpg")
    options = ("-m", "labels.onnx", "--provider", "cpu")
    assert run("translate", "in", "-o", "out", *options)[0] == 0
    assert np.array_equal(load("out/a.png"), 255 - load("in/a.jpg"))
    for where in (("out", "--ext", "jpg"), ("a.jpg",), ("a.webp",), ("a.avif",)):
        code, _, err = run("translate", "in/a.jpg", "-o", *where, *options)
        assert code == 2
        assert "would mix their colors. Choose png" in err
    assert run("translate", "in/a.jpg", "-o", "a.webp", "--quality", "100", *options)[0] == 0
    assert np.array_equal(load("a.webp"), 255 - load("in/a.jpg"))


@pytest.mark.parametrize("inputs", [["in"], ["in/*.png"], ["in/a.png", "in/b.png"]])
def test_several_pictures_do_not_go_into_what_is_named_like_a_file(run, inputs):
    picture("in/a.png")
    picture("in/b.png")
    code, _, err = run("translate", *inputs, "-o", "out.png", "-m", "m.onnx")
    assert code == 2
    assert one_sentence(err)
    assert "the input is not one file" in err
    assert not Path("out.png").exists()
    Path("out.png").mkdir()  # as the message says
    command = "translate", *inputs, "-o", "out.png", "-m", "m.onnx", "--provider", "cpu"
    assert run(*command)[0] == 0
    assert Path("out.png/a.png").is_file()


def test_a_folder_with_a_dot_in_its_name_is_a_folder(run):
    picture("a.png")
    assert run("translate", "a.png", "-o", "set.v2", "-m", "m.onnx", "--provider", "cpu")[0] == 0
    assert Path("set.v2/a.png").is_file()


# --- the rest -------------------------------------------------------------------------------


def test_options_reach_the_work(run):
    picture("in/a.png")
    picture("in/b.png", 1)
    picture("in/large.png", 2, 50, 50)
    code, out, _ = run(
        "translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu", "--json",
        "--ext", "webp", "--max-pixels", "100", "--batch", "2", "--threads", "1", "--shard", "2/2",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["done"] == 1
    assert [path.name for path in Path("out").glob("*.webp")] == ["b.webp"]
    code, out, _ = run(
        "translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu", "--json",
        "--ext", "webp", "--max-pixels", "100",
    )  # fmt: skip
    assert code == 5
    assert (json.loads(out)["done"], json.loads(out)["skipped"]) == (1, 1)


def test_to_all_gives_every_domain_a_folder_and_goes_on_where_it_was(run):
    write_model("s.onnx", SHIFT, "dawn", "dusk")
    Path("in/sub").mkdir(parents=True)
    Image.new("RGB", (4, 4), (5, 5, 5)).save("in/sub/a.png")
    command = "translate", "in", "-m", "s.onnx", "--provider", "cpu", "--to", "all", "--json"
    code, out, _ = run(*command, "-o", "in/out")  # where the next run finds no new inputs
    assert (code, json.loads(out)["done"]) == (0, 2)
    assert (load("in/out/dawn/sub/a.png") == 15).all()
    assert (load("in/out/dusk/sub/a.png") == 25).all()
    code, out, _ = run(*command, "-o", "in/out")
    assert (json.loads(out)["done"], json.loads(out)["skipped"]) == (0, 2)
    one = [*command[:-2], "dusk", "--json", "-o", "in/out/dusk"]
    assert json.loads(run(*one)[1])["skipped"] == 1  # as if it had been asked for alone


def test_to_all_writes_nothing_where_one_domain_would_be_refused(run):
    write_model("s.onnx", SHIFT, "dawn", "dusk")
    picture("in/a.png")
    picture("out/dusk/a.png", 1)
    code, _, err = run("translate", "in", "-o", "out", "-m", "s.onnx", "--to", "all")
    assert code == 3
    assert one_sentence(err)
    assert not Path("out/dawn").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a\\b", "", ".img2img", "a\0b", "DAWN"])
def test_a_domain_that_is_a_path_leads_nowhere(run, name):
    write_model("s.onnx", SHIFT, "dawn", name)
    picture("in/a.png")
    code, _, err = run("translate", "in", "-o", "out", "-m", "s.onnx", "--to", "all")
    assert code == 2
    assert one_sentence(err)
    assert not Path("out").exists()


def test_to_all_needs_domains_and_a_folder(run):
    picture("in/a.png")
    write_model("s.onnx", SHIFT, "dawn", "dusk")
    for model, output in (("m.onnx", "out"), ("s.onnx", "a.png")):
        code, _, err = run("translate", "in/a.png", "-o", output, "-m", model, "--to", "all")
        assert code == 2
        assert one_sentence(err)


def test_the_folders_of_all_domains_are_one_input_when_they_are_named(run):
    write_model("s.onnx", SHIFT, "dawn", "dusk")
    picture("in/a.png")
    run("translate", "in", "-o", "out", "-m", "s.onnx", "--provider", "cpu", "--to", "all")
    command = "translate", "out", "-o", "again", "-m", "m.onnx", "--provider", "cpu", "--json"
    code, out, _ = run(*command)
    assert (code, json.loads(out)["done"]) == (0, 2)
    assert sorted(Path("again").rglob("*.png")) == [
        Path("again/dawn/a.png"), Path("again/dusk/a.png")
    ]  # fmt: skip


def test_what_is_passed_over_is_told(run):
    picture("in/a.png")
    for name in ("in/v.mp4", "in/w.mp4", "in/d.pdf"):
        Path(name).touch()
    picture("in/old/b.png")
    Path("in/old/.img2img").mkdir()
    command = "translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu"
    code, out, err = run(*command)
    assert (code, out) == (0, "")
    assert "3 files passed over: 2 .mp4, 1 .pdf; 1 folder that img2img wrote passed over" in err
    code, out, err = run(*command, "--json")
    assert err == ""
    assert json.loads(out)["passed_over"] == {".mp4": 2, ".pdf": 1}
    assert json.loads(out)["outputs_passed_over"] == [os.path.join("in", "old")]


def test_names_that_clash_are_told_apart_as_the_message_says(run):
    picture("in/a.png")
    Image.new("RGB", (4, 4)).save("in/a.gif")
    command = "translate", "in", "-m", "m.onnx", "--provider", "cpu"
    code, _, err = run(*command, "-o", "out")
    assert code == 3
    assert one_sentence(err)
    for names, made in (("full", ["a.gif.png", "a.png"]), ("number", ["a-2.png", "a.png"])):
        assert f"--names {names}" in err
        assert run(*command, "-o", names, "--names", names)[0] == 0
        assert sorted(path.name for path in Path(names).glob("*.png")) == made
        assert "0 translated, 2 skipped" in run(*command, "-o", names, "--names", names)[2]
    assert not Path("out").exists()


def test_a_second_run_skips_and_says_so(run):
    picture("in/a.png")
    command = "translate", "in", "-o", "out", "-m", "m.onnx", "--provider", "cpu"
    run(*command)
    code, _, err = run(*command)
    assert code == 0
    assert "0 translated, 1 skipped, 0 failed" in err
    code, out, _ = run(*command, "--json")
    assert json.loads(out)["skipped"] == 1


@pytest.mark.parametrize("output", ["set [v2]", "a[bold]b", "x[/y]z"])
def test_an_output_folder_with_brackets_is_told_as_it_is(run, output):
    picture("in/a.png")
    code, _, err = run("translate", "in", "-o", output, "-m", "m.onnx", "--provider", "cpu")
    assert code == 0, err
    assert f"see {output}" in err
    assert Path(output, "a.png").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_failing_file_whose_name_is_not_utf8_is_told():
    Path("in").mkdir()
    Path(os.fsdecode(b"in/caf\xe9.png")).write_bytes(b"hello")
    result = img2img("translate", "in", "-o", "out", "-m", "m.onnx", "--json", "--provider", "cpu")
    assert result.returncode == 5
    assert json.loads(result.stdout)["done"] == 0
    assert "Traceback" not in result.stderr
    assert "not a picture" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_folders_whose_names_are_not_utf8_are_translated_and_told():
    name = os.fsdecode(b"caf\xe9")
    pixels = picture(f"{name}/a.png")
    result = img2img("translate", name, "-o", f"{name}2", "-m", "m.onnx", "--provider", "cpu")
    assert result.returncode == 0, result.stderr
    assert r"see caf\xe92" in result.stderr
    assert np.array_equal(load(f"{name}2/a.png"), 255 - pixels)
    result = img2img("translate", f"{name}x", "-o", "out", "-m", "m.onnx")
    assert result.returncode == 3
    assert one_sentence(result.stderr)
    assert r"caf\xe9x" in result.stderr


@posix
def test_escape_codes_in_names_do_not_reach_the_terminal(run):
    Path("in").mkdir()
    Path("in/\x1b[31mred\x1b]0;title\x07\u202egnp.png").write_bytes(b"hello")
    code, out, err = run("translate", "in", "-o", "o\x1bc", "-m", "m.onnx", "--provider", "cpu")
    assert code == 5
    assert not set("\x1b\x07\u202e") & set(out + err)
    assert r"\x1b[31mred\x1b]0;title\x07\u202egnp.png: not a picture" in err
    assert r"see o\x1bc" in err


def test_a_name_with_colons_is_no_emoji(run):
    picture("in/a.png")
    command = "translate", "in", "-o", "out:cat:", "-m", "m.onnx", "--provider", "cpu"
    assert "see out:cat:" in run(*command)[2]


def test_json_is_valid_in_any_encoding():
    Path("in").mkdir()
    Path("in/é\u4e2d.png").write_bytes(b"hello")
    command = "-m", "img2img", "translate", "in", "-o", "out", "-m", "m.onnx", "--json"
    result = fresh("-X", "utf8=0", *command)
    assert [Path(name).name for name, _ in json.loads(result.stdout)["failed"]] == ["é\u4e2d.png"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_info_of_a_model_with_odd_names_prints_in_any_encoding(monkeypatch, options):
    write_model("s.onnx", SHIFT, "d\xe9but", "\x1b[31m[/red]")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = img2img("info", "s.onnx", *options)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    if options:
        assert json.loads(result.stdout)["labels"]["sets"][0]["domains"][0] == "d\xe9but"


def test_a_permission_error_says_permission(run, monkeypatch):
    picture("in/a.png")

    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", scandir)
    code, _, err = run("translate", "in", "-o", "out", "-m", "runs/closed")
    assert code == 1
    assert one_sentence(err)
    assert f"{Path('runs/closed/export')}: Permission denied" in err


def test_info_shows_the_manifest(run):
    code, out, _ = run("info", "m.onnx", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "inverter"
    code, out, _ = run("info", "m.onnx")
    assert code == 0
    assert "inverter" in out
    assert hashlib.sha256(Path("m.onnx").read_bytes()).hexdigest() in out
    code, out, err = run("info", "none.onnx")
    assert (code, out) == (3, "")
    assert one_sentence(err)
