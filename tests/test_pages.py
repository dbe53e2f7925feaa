"""The commands of README.md and of all pages: they run, on tiny data, or the page says why not."""

import ast
import importlib
import re
import shlex
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from command_line import run
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "quickstart" / "train"
FILES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("weights/*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
BEFORE = re.compile(r"<!-- before: (img2img .+) -->")  # what a page takes for granted
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n$")
# Trainings of minutes become trainings of a second. These options have other values then.
LENGTHS = ("--epochs", "--steps", "--max-time", "--size", "--resize", "--centre-crop")
SMALL = ["--steps", "2", "--size", "32", "--workers", "0", "--eval-every", "0"]
NARROW = ["--width", "4", "--d-width", "4"]
# Of the methods' default networks, since tracing them for an export takes longest.
NETWORKS = {
    "pix2pix": [*NARROW, "--levels", "4"],
    "cyclegan": [*NARROW, "--blocks", "1"],
    "cut": [*NARROW, "--blocks", "2"],
    "stargan": [*NARROW, "--blocks", "1", "--d-layers", "3"],
}
CHOICES = ("--preset", "--generator", "--discriminator", "--config")  # of other networks
LISTS = ("--list-methods", "--list-objectives", "--list-settings")


@dataclass(frozen=True)
class Block:
    """A block of commands. reason: why it is not run, or empty."""

    commands: tuple[str, ...]
    reason: str


def blocks(page: Path) -> list[Block]:
    text, result = page.read_text(), []
    for match in re.finditer(r"```sh\n(.*?)```", text, re.DOTALL):
        marker = NOT_RUN.search(text[: match.start()])
        lines = match[1].replace("\\\n", " ").splitlines()
        bare = [re.sub(r"(^|\s)# .*", "", line) for line in lines]
        commands = [part.strip() for line in bare for part in line.split(" && ") if part.strip()]
        result.append(Block(tuple(commands), marker[1] if marker else ""))
    return result


PAGES = {str(path.relative_to(ROOT)): blocks(path) for path in FILES}
RUN = {
    name: lines
    for name, page in PAGES.items()
    if (lines := [line for block in page if not block.reason for line in block.commands])
}
SLOW = ("docs/tasks/export.md", "docs/tasks/evaluate.md")  # minutes, which CI does not spend
OTHERS = [
    pytest.param(line, id=f"{name}: {line}")
    for name, page in PAGES.items()
    for block in page
    for line in block.commands
    if block.reason and line.startswith("img2img ")
]


def test_there_are_pages_with_commands():
    assert len(RUN) > 10
    assert len(OTHERS) > 10


@pytest.mark.parametrize("page", RUN)
def test_what_is_not_a_command_of_img2img_says_why_it_is_not_run(page):
    assert [line for line in RUN[page] if not line.startswith("img2img ")] == []


@cache
def help_of(command: str) -> str:
    """The command's help; for train, also the settings of the methods, which are options too."""
    modes = ("cyclegan", "pix2pix", "stargan", "cut") if command == "train" else ()
    settings = [run("train", "--list-settings", "--mode", mode).stdout for mode in modes]
    return "".join([run(command, "--help").stdout, *settings])


@pytest.mark.parametrize("line", OTHERS)
def test_a_command_that_is_not_run_has_the_options_it_uses(line):
    _, command, *arguments = shlex.split(line)
    for argument in arguments:
        if argument.startswith("-"):
            assert re.search(rf"(^|\s|,){re.escape(argument)}\s", help_of(command)), argument


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_of_the_page_parses_and_imports_what_there_is(path):
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "img2img":
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with all that the pages name: tiny pictures."""
    folder = tmp_path_factory.mktemp("data")
    styles = {
        style: [Image.open(path) for path in sorted((SAMPLE / style).iterdir())[:8]]
        for style in ("flat", "3d")
    }
    small = {
        style: [image.convert("RGB").resize((40, 40)) for image in images]
        for style, images in styles.items()
    }

    def put(name: str, pictures: list[Image.Image]) -> None:
        (folder / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.save(folder / name / f"{number:06}.png")

    for name in ("horses", "cats", "day", "edges", "flat", "drawings", "maps"):
        put(name, small["flat"])
    small["flat"][0].save(folder / "drawings" / "without-a-partner.png")
    for name in ("zebras", "dogs", "night", "photos", "3d", "dem", "celeba/images"):
        put(name, small["3d"])
    for name, style in (("A", "flat"), ("B", "3d")):
        put(f"horse2zebra/train{name}", small[style][:6])
        put(f"horse2zebra/test{name}", small[style][6:])
    for name in ("optical", "sar"):
        put(name, [image.convert("L") for image in small["flat"]])
    put("labels", [image.quantize(3, kmeans=0).convert("RGB") for image in small["flat"]])
    for number, domain in enumerate(("flat", "3d", "noto")):
        put(f"styles/{domain}", [ImageOps.posterize(x, 8 - 2 * number) for x in small["3d"]])
    put("seasons/summer", small["flat"])
    put("seasons/winter", small["3d"])
    pairs = []
    for left, right in zip(small["flat"], small["3d"], strict=True):
        pair = Image.new("RGB", (80, 40))
        pair.paste(left, (0, 0))
        pair.paste(right, (40, 0))
        pairs.append(pair)
    put("facades", pairs)
    names = ("Black_Hair", "Blond_Hair", "Male")
    rows = [f"{n:06}.png {1 if n % 2 else -1} {-1 if n % 2 else 1} 1" for n in range(8)]
    rows[0] = rows[0][:-1] + "-1"
    lines = [str(len(rows)), " ".join(names), *rows]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    small["3d"][0].save(folder / "photo.jpg")
    shutil.copytree(ROOT / "weights", folder / "weights")
    return folder


def tiny(arguments: list[str], number: int) -> list[str]:
    """The arguments of a page's nth command, with trainings of two steps."""
    if arguments[0] != "train" or any(each in arguments for each in (*LISTS, "--dry-run")):
        return arguments
    lengths = [at for at, name in enumerate(arguments) if name in LENGTHS]
    left_out = {*lengths, *(at + 1 for at in lengths)}
    kept = [text for at, text in enumerate(arguments) if at not in left_out]
    if "--resume" in kept and "--mode" not in kept:
        return [*kept, "--steps", str(4 + 2 * number)]  # the total
    chosen = any(name in kept for name in CHOICES)
    networks = [] if chosen else NETWORKS[kept[kept.index("--mode") + 1]]
    return [*kept, *SMALL, *networks]


@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RUN]
)
def test_the_commands_of_the_page_run(page, data, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(data, folder)
    for number, line in enumerate([*BEFORE.findall((ROOT / page).read_text()), *RUN[page]]):
        done = run(*tiny(shlex.split(line)[1:], number), cwd=folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
