"""docs/gallery.md shows every model that ships, and its script takes pictures in their order."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def _script():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gallery = _script()


def put(folder: Path, *names: str, side: int = 8) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (side, side)).save(folder / f"{name}.png")


def test_the_page_has_a_section_for_every_model_that_ships():
    sections = re.findall(r"^## (.+)", gallery.PAGE.read_text(), re.MULTILINE)
    assert set(sections) == {path.stem for path in (ROOT / "weights").glob("*.onnx")}


def test_the_pages_pictures_are_those_that_are_there_and_small():
    linked = re.findall(r"\]\((images/[^)]+)\)", gallery.PAGE.read_text())
    there = list(gallery.SHEETS.iterdir())
    assert {gallery.PAGE.parent / target for target in linked} == set(there)
    assert sum(path.stat().st_size for path in there) <= gallery.BYTES


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path):
    put(tmp_path / "test" / "relief")
    with pytest.raises(SystemExit, match="test/relief"):
        gallery.folders("relief", [tmp_path])


def test_of_two_folders_the_one_with_the_smaller_pictures_is_first(tmp_path):
    large, small = tmp_path / "large" / "test" / "map", tmp_path / "small" / "test" / "map"
    put(large, "a", side=16)
    put(small, "a")
    assert gallery.folders("map", [tmp_path / "large", tmp_path / "small"]) == [small, large]


def test_pictures_are_in_order_without_those_that_may_not_be_passed_on(tmp_path):
    folder = tmp_path / "test" / "scene"
    put(folder, "01-aa-hill", "00-bb-lake", "00-aa-hill", "00-cc-fish")
    (tmp_path / "sources.csv").write_text("name,may_ship\naa-hill,yes\nbb-lake,no\ncc-fish,yes\n")
    names = [path.stem for path in gallery.pictures(folder)]
    assert names == ["00-aa-hill", "00-cc-fish", "01-aa-hill"]


def test_what_is_too_wide_for_a_sheet_goes_on_below_line_by_line():
    inputs, outputs = (
        [np.full((2, 2, 3), n, np.uint8) for n in ns] for ns in ((1, 2, 3), (4, 5, 6))
    )
    sheet = gallery.sheet([inputs, outputs], across=2)
    step = 2 + gallery.GAP
    assert sheet[::step, ::step, 0].tolist() == [[1, 2], [4, 5], [3, 255], [6, 255]]
