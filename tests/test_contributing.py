"""The table of CONTRIBUTING.md names files that exist, and what is in the code's tables."""

import inspect
import re
from pathlib import Path

import pytest

from img2img.data import LAYOUTS
from img2img.evaluate.gather import PAIRED
from img2img.evaluate.measure import NEIGHBOURHOOD
from img2img.formats import FORMATS, OPTIONAL
from img2img.images import WRITERS
from img2img.infer.session import PROVIDERS
from img2img.methods import METHODS
from img2img.methods.fidelity import PictureLosses
from img2img.methods.objectives import OBJECTIVES
from img2img.nets import DISCRIMINATORS, GENERATORS
from img2img.remote import SCHEMES

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
ROWS = {
    cells[0]: cells[1:]
    for line in LINES
    if line.startswith("| ")
    and (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] != "add a"
}
PRESENT = {
    "method": METHODS.builtin,
    "generator": GENERATORS.builtin,
    "discriminator": DISCRIMINATORS.builtin,
    "objective": OBJECTIVES.builtin,
    "loss on pictures": [
        name for name, field in PictureLosses.model_fields.items() if field.annotation is float
    ],
    "layout of data": LAYOUTS.builtin,
    "metric of a picture": PAIRED,
    "metric of a set": NEIGHBOURHOOD,
    "provider": PROVIDERS,
    "format to read": (*FORMATS, *OPTIONAL),
    "format to write": dict.fromkeys(WRITERS.values()),
    "kind of URL": SCHEMES,
}
TABLES = {
    "method": METHODS,
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "layout of data": LAYOUTS,
}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def paths(cell: str) -> list[str]:
    """What looks like a file; NAME stands for a name that is to come."""
    return [text for text in quoted(cell) if re.fullmatch(r"[\w./-]+\.(py|md|toml)", text)]


@pytest.mark.parametrize("row", ROWS)
def test_every_file_of_the_table_exists(row):
    named = paths(ROWS[row][0])
    assert named
    for path in named:
        assert list(ROOT.glob(path.replace("NAME", "[a-z]*"))), path


@pytest.mark.parametrize("row", ROWS)
def test_names_in_parentheses_are_in_a_file_that_stands_before_them(row):
    texts = quoted(ROWS[row][0])
    for number, text in enumerate(texts):
        if not re.fullmatch(r"[A-Za-z_]+", text) or text in ("README",):
            continue
        [*_, path] = [before for before in texts[:number] if before in paths(ROWS[row][0])]
        assert re.search(rf"\b{text}\b", (ROOT / path).read_text()), f"{text} in {path}"


@pytest.mark.parametrize("row", PRESENT)
def test_what_is_present_is_what_the_code_has(row):
    assert quoted(ROWS[row][1]) == list(PRESENT[row])


@pytest.mark.parametrize("row", TABLES)
def test_built_in_rows_are_in_the_folder_that_the_table_names(row):
    folder = Path(paths(ROWS[row][0])[0]).parent
    for name in TABLES[row].builtin:
        path = Path(inspect.getfile(TABLES[row][name]))
        assert path.is_relative_to(ROOT / folder), name


def test_the_links_and_commands_outside_the_table_lead_to_files():
    links = [text for line in LINES for text in re.findall(r"\]\(([\w./-]+)\)", line)]
    tests = [text for line in LINES for text in re.findall(r"^pytest .*?(tests/[\w./]+)", line)]
    assert tests
    for text in (*links, *tests):
        assert (ROOT / text).exists(), text
