"""Label maps on either side: from folders to a model, no color is mixed with another."""

import numpy as np
import pytest
import torch
from PIL import Image

from img2img import Translator, images
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.export.run import export_run
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
from img2img.nets.colors import OneHotInput, nearest, scaled
from img2img.training.loop import train
from img2img.training.plan import make_plan

COLORS = ((0, 0, 0), (0, 0, 250), (0, 128, 0), (220, 20, 60), (255, 255, 0))


@pytest.fixture(scope="module")
def facades(tmp_path_factory):
    """labels/, palette pictures, and photos/, the same in noise; of odd sizes."""
    folder, random = tmp_path_factory.mktemp("facades"), np.random.default_rng(0)
    for name in ("labels", "photos"):
        (folder / name).mkdir()
    palette = np.array(COLORS, np.uint8)
    for number in range(12):
        index = random.integers(0, 5, (7, 9)).astype(np.uint8).repeat(11, 0).repeat(7, 1)
        labels = Image.fromarray(index, "P")
        labels.putpalette(palette.ravel().tolist())
        labels.save(folder / "labels" / f"{number}.png")
        noisy = palette[index] + random.integers(-30, 30, (*index.shape, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            folder / "photos" / f"{number}.png"
        )
    return folder


def colors_of(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in pixels.reshape(-1, pixels.shape[-1]).tolist()}


def sources(facades, a="labels", b="photos"):
    return {"sources": {"a": facades / a, "b": facades / b}}


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_samples_of_label_maps_have_no_other_colors(facades, make_config, quiet, fit):
    config = make_config("pix2pix", sources(facades), labels_in="color", fit=fit)
    plan = make_plan(config, quiet)
    assert plan.config.method.palettes == {"a": COLORS}
    for training in (True, False):
        sample = plan.training.sample(1, plan.augment(training), np.random.default_rng(0))
        assert colors_of(sample["a"]) <= set(COLORS)
        assert len(colors_of(sample["b"])) > 100


@pytest.mark.parametrize("labels_in", ["color", "one-hot"])
def test_label_maps_become_pictures(facades, make_config, quiet, tmp_path, labels_in):
    run = tmp_path / "run"
    config = make_config("pix2pix", sources(facades), labels_in=labels_in, steps=2)
    train(make_plan(config, quiet), run, quiet)
    [(path, parity)] = export_run(run, quiet)
    assert parity["max_levels"] <= 1
    translator = Translator(path, "cpu")
    assert translator.manifest.in_channels == 3
    labels = images.read(facades / "labels" / "0.png").pixels
    assert translator(labels).shape == labels.shape


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_pictures_become_label_maps_of_the_colors_in_the_data(
    facades, make_config, quiet, tmp_path, precision
):
    run = tmp_path / "run"
    config = make_config("pix2pix", sources(facades, "photos", "labels"), labels_out=True, steps=2)
    train(make_plan(config, quiet), run, quiet)
    [(path, parity)] = export_run(run, quiet, precision=precision)
    assert parity["differing"] <= 0.02
    translator = Translator(path, "cpu")
    assert translator.manifest.palette == COLORS
    photo = images.read(facades / "photos" / "0.png").pixels
    assert colors_of(translator(photo)) <= set(COLORS)
    assert len(colors_of(translator(photo))) > 1


def test_both_ways_of_a_cycle_keep_their_colors(facades, make_config, quiet, tmp_path):
    config = make_config("cyclegan", sources(facades), labels_in="color", steps=2)
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    there, back = (Translator(path, "cpu") for path, _ in export_run(tmp_path / "run", quiet))
    assert there.manifest.palette == ()
    assert back.manifest.palette == COLORS
    photo = images.read(facades / "photos" / "0.png").pixels
    assert colors_of(back(photo)) <= set(COLORS)


def test_photos_are_no_label_maps(facades, make_config, quiet):
    config = make_config("pix2pix", sources(facades), labels_out=True)
    with pytest.raises(
        DataError, match="pictures of b have over 256 colors, so they are not label"
    ):
        make_plan(config, quiet)


@pytest.mark.parametrize(
    ("mode", "settings", "message"),
    [
        ("stargan", {"labels_out": True}, "does not translate label maps"),
        ("cut", {"labels_in": "one-hot"}, "need gradients of the inputs"),
        ("cyclegan", {"labels_in": "one-hot"}, "need gradients of the inputs"),
    ],
)
def test_methods_that_have_no_use_for_label_maps_say_so(make_config, mode, settings, message):
    with pytest.raises(UsageError, match=message):
        make_config(mode, **settings)


def test_one_hot_gives_a_channel_for_each_color():
    seen = {}

    class Spy(torch.nn.Module):
        size_multiple = min_size = 1

        def forward(self, image):
            seen["image"] = image
            return image[:, :3]

    picture = torch.tensor([[COLORS[3], COLORS[0]]], dtype=torch.float32)  # [1, 2, 3]
    wrapped = OneHotInput(Spy(), COLORS)
    with torch.autocast("cpu", torch.bfloat16):
        wrapped(picture.permute(2, 0, 1)[None] / 127.5 - 1)
    assert seen["image"].argmax(1).tolist() == [[[3, 0]]]
    assert (seen["image"].sum(1) == 1 - 4).all()


def test_neighboring_levels_are_told_apart():
    palette = tuple((level,) for level in range(256))
    levels = torch.arange(256.0).view(1, 1, 16, 16) / 127.5 - 1
    assert nearest(levels, scaled(palette)).flatten().tolist() == list(range(256))


def test_index_pictures_are_label_maps_of_one_channel(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        index = np.arange(6, dtype=np.uint8).reshape(2, 3)
        Image.fromarray(index, "L").save(tmp_path / folder / "x.png")
    dataset = Pairs.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), (1, 3))
    assert dataset.palette("a") == tuple((level,) for level in range(6))
    config = Pix2PixConfig(
        in_channels=1, labels_in="one-hot", palettes={"a": dataset.palette("a")}, size=32, levels=4
    )
    generator = Pix2Pix(config).generators["ab"]
    assert generator.network(torch.zeros(1, 6, 32, 32)).shape == (1, 3, 32, 32)
