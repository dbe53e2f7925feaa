"""How pictures of another shape are made to fit, and label maps resized without mixing colors."""

import numpy as np
import pytest

from img2img.data.augment import Augment
from img2img.data.cache import Cache
from img2img.sizes import Size

WIDE = np.zeros((40, 120, 3), np.uint8)  # three squares: red, green, blue
WIDE[:, :40, 0] = WIDE[:, 40:80, 1] = WIDE[:, 80:, 2] = 255


def made(augment: Augment, picture: np.ndarray, seed: int = 0, name: str = "a") -> np.ndarray:
    """The picture after both stages."""
    channels = {name: picture.shape[2]}
    ready = augment.prepared(0, channels, lambda: {name: picture})
    return augment(np.random.default_rng(seed), ready)[name]


def colors_of(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, picture.shape[-1]).tolist()}


def test_squash_shows_all_of_it():
    squashed = made(Augment(24, 24, None, False, False), WIDE)
    assert squashed.shape == (24, 24, 3)
    assert squashed[12, [2, 12, 21]].argmax(-1).tolist() == [0, 1, 2]


def test_crop_keeps_the_shape_and_shows_the_middle():
    cropped = made(Augment(24, 24, None, False, False, fit="crop"), WIDE)
    assert cropped.shape == (24, 24, 3)
    assert (cropped.argmax(-1)[:, 1:-1] == 1).all()


def test_crop_is_at_random_in_training():
    augment = Augment(24, 24, None, False, True, fit="crop")
    middles = {int(made(augment, WIDE, seed)[12, 12].argmax()) for seed in range(30)}
    assert middles == {0, 1, 2}


def test_pad_shows_all_of_it_in_its_shape_and_repeats_the_border_below():
    padded = made(Augment(24, 24, None, False, False, fit="pad"), WIDE)
    assert padded.shape == (24, 24, 3)
    assert padded[:, [2, 12, 21]].argmax(-1).tolist() == [[0, 1, 2]] * 24
    assert (padded[8:] == padded[7]).all()
    upright = made(Augment(24, 24, None, False, False, fit="pad"), WIDE.transpose(1, 0, 2).copy())
    assert (upright[:, 8:] == upright[:, 7:8]).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (64, 64), (33, 50), (7, 200)])
@pytest.mark.parametrize("training", [True, False])
def test_every_fit_gives_the_rectangle_of_any_picture(fit, shape, training):
    augment = Augment(Size(48, 32), Size(54, 36), None, True, training, fit=fit)
    picture = np.full((*shape, 3), 9, np.uint8)
    assert made(augment, picture).shape == (32, 48, 3)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_cache_gives_rectangles_as_they_were(fit, tmp_path):
    size, load = Size(48, 32), Size(54, 36)
    cache = Cache(tmp_path / "cache", 1, 54 * 36 * 3)
    keeping = Augment(size, load, None, True, True, cache, fit)
    plain = Augment(size, load, None, True, True, None, fit)
    for seed in range(3):
        assert (made(keeping, WIDE, seed) == made(plain, WIDE, seed)).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [17, 100])
def test_the_colors_of_label_maps_do_not_mix(fit, size):
    names = np.random.default_rng(0).integers(0, 5, (30, 50))
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [9, 9, 250], [255, 255, 0]], np.uint8)
    labels = palette[names]
    augment = Augment(size, size, None, True, True, fit=fit, labels=["a"])
    assert colors_of(made(augment, labels)) <= colors_of(labels)
    assert len(colors_of(made(augment, labels, name="b"))) > 5
