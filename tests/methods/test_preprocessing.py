"""From which size crops are taken, and where they find room."""

import numpy as np
import pytest

from img2img.data.stream import Stream, messages
from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.training.loop import train
from img2img.training.plan import augmentation, make_plan

PADS = {"size": 64, "resize": None, "margin": "reflect"}


@pytest.mark.parametrize("mode", METHODS.builtin)
@pytest.mark.parametrize("margin", ["enlarge", "auto", "reflect", "edge"])
def test_crops_are_taken_from_the_papers_size(mode, margin):
    config = METHODS[mode].Config(size=128, margin=margin)
    without_crops = mode == "stargan" and margin == "enlarge"
    assert config.load_size == ((128, 128) if without_crops else (143, 143))


@pytest.mark.parametrize("mode", METHODS.builtin)
def test_the_default_is_that_of_the_papers(mode):
    assert METHODS[mode].Config().margin == "enlarge"
    assert METHODS[mode].presets["paper"].keys().isdisjoint(["margin", "resize"])


@pytest.mark.parametrize("mode", METHODS.builtin)
def test_pictures_at_their_size_are_trained_on_as_they_are(mode, make_config, quiet):
    config = make_config(mode, flip=False, **PADS)
    plan = make_plan(config, quiet)
    reads = make_plan(make_config(mode, flip=False, size=64, resize=64), quiet)
    name = "image" if mode == "stargan" else "a"
    originals, crops = (
        Stream(p.training, p.augment(training=True), 0, 4)[3][name].numpy() for p in (reads, plan)
    )
    assert any(
        (crops[4:-4, 4:-4] == originals[down : down + 56, right : right + 56]).all()
        for down in range(9)
        for right in range(9)
    )


def test_an_explicit_resize_enlarges():
    config = METHODS["pix2pix"].Config(size=64, resize=80, margin="reflect")
    assert not augmentation(config, training=True).adds_margin
    assert augmentation(METHODS["pix2pix"].Config(**PADS), training=True).adds_margin


@pytest.mark.parametrize(
    ("resize", "reason"),
    [(0, r"not resized \(resize=0\)"), (36, "resize=36 resizes smaller pictures, too")],
)
def test_a_margin_that_nothing_needs_is_refused(resize, reason, make_config):
    with pytest.raises(UsageError, match=f"--margin would change nothing: .*{reason}"):
        make_config("pix2pix", resize=resize, margin="auto")


def test_samples_do_not_depend_on_the_worker_that_makes_them(make_config, quiet):
    plan = make_plan(make_config("cyclegan", **PADS), quiet)
    stream = Stream(plan.training, plan.augment(training=True), 5, 4)
    here, [there] = (list(messages(stream, 1, 3, workers, False)) for workers in (0, 2))
    for name in "ab":
        assert np.array_equal(np.concatenate([message[name] for message in here]), there[name])
    assert not np.array_equal(here[0]["a"], here[1]["a"])


@pytest.mark.parametrize("mode", ["pix2pix", "stargan"])
def test_margins_go_into_the_cache_of_a_run(mode, make_config, quiet, tmp_path):
    config = make_config(mode, run={"cache": True}, **PADS | {"steps": 2})
    train(make_plan(config, quiet), tmp_path / "run", quiet)
