"""Training on rectangles, and on pictures that keep their shape, from folders to a model."""

import json

import pytest
from PIL import Image

from img2img import Translator
from img2img.errors import UsageError
from img2img.export.run import export_run
from img2img.training.loop import train
from img2img.training.plan import make_plan

RECTANGLE = {"size": "48x32", "resize": "54x36", "steps": 2}


@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan", "stargan"])
def test_every_method_trains_on_rectangles_and_is_exported(mode, make_config, quiet, tmp_path):
    run = tmp_path / "run"
    config = make_config(mode, fit="crop", **RECTANGLE)
    plan = make_plan(config, quiet)
    train(plan, run, quiet)
    saved = json.loads((run / "config.json").read_text())["method"]
    assert (saved["size"], saved["resize"], saved["fit"]) == ("48x32", "54x36", "crop")
    card = (run / "README.md").read_text()
    assert "at 48x32 px, cropped to that shape" in card
    path, parity = export_run(run, quiet)[0]
    assert parity["max_levels"] <= 1
    translator = Translator(path, "cpu")
    assert tuple(translator.manifest.trained_size) == (48, 32)


def test_rectangles_go_into_the_cache(make_config, quiet, tmp_path):
    config = make_config("pix2pix", run={"cache": True}, fit="pad", **RECTANGLE)
    train(make_plan(config, quiet), tmp_path / "run", quiet)


def test_pictures_of_many_sizes_that_crops_keep_can_not_be_kept(make_config):
    with pytest.raises(UsageError, match="before fit=crop crops them"):
        make_config("cyclegan", run={"cache": True}, fit="crop")


def test_a_fit_without_resizing_would_change_nothing(make_config):
    with pytest.raises(UsageError, match="--fit would change nothing"):
        make_config("cyclegan", resize=0, fit="pad")


def test_a_crop_that_is_higher_than_the_pictures_is_refused(make_config):
    with pytest.raises(
        UsageError, match=r"crop of 32x40 px is larger than the resized pictures .40x36 px"
    ):
        make_config("cyclegan", size="32x40", resize="40x36")


def test_the_picture_in_which_a_rectangle_has_no_room_is_named(make_config, quiet, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for name, size in (("x", (90, 90)), ("y", (64, 40)), ("z", (60, 44))):
            Image.new("RGB", size).save(tmp_path / folder / f"{name}.png")
    sources = {"a": tmp_path / "a", "b": tmp_path / "b"}
    config = make_config("cyclegan", {"sources": sources}, size="64x44", resize=0)
    with pytest.raises(Exception, match=r"crop of 64x44 px is larger .*\.png \(6"):
        make_plan(config, quiet)
