"""What discriminators see: changed alike for real and fake, with gradients, by the step's seed."""

import pytest
import torch

from img2img.methods.disturb import augmented, noisy

RGB = (3,)
ALL = ("colour", "translation", "cutout")


@pytest.fixture
def image():
    torch.manual_seed(0)
    return torch.rand(64, 3, 16, 24) * 2 - 1


@pytest.mark.parametrize("change", ALL)
def test_gradients_flow_and_the_seed_decides(image, change):
    image.requires_grad_()
    torch.manual_seed(5)
    first = augmented(image, (change,), RGB)
    torch.manual_seed(5)
    assert torch.equal(augmented(image, (change,), RGB), first)
    assert first.shape == image.shape
    assert not torch.equal(first, image)
    (slope,) = torch.autograd.grad(first.sum(), image)
    assert (slope != 0).any()


@pytest.mark.parametrize("change", ALL)
def test_both_pictures_of_a_pair_are_changed_alike(image, change):
    first, second = augmented(torch.cat([image, image], 1), (change,), (3, 3)).split(3, 1)
    assert torch.equal(first, second)


def test_nothing_is_done_unless_it_is_asked_for(image):
    assert augmented(image, (), RGB) is image


def test_translations_keep_the_pixels_that_stay(image):
    """By at most an eighth: 2 rows and 3 columns; what moves in is 0."""
    moved = augmented(image, ("translation",), RGB)
    offsets = set()
    for was, now in zip(image, moved, strict=True):
        fits = [
            (y, x)
            for y in range(-2, 3)
            for x in range(-3, 4)
            if torch.equal(
                now[:, max(y, 0) : 16 + min(y, 0), max(x, 0) : 24 + min(x, 0)],
                was[:, max(-y, 0) : 16 + min(-y, 0), max(-x, 0) : 24 + min(-x, 0)],
            )
            and (now == 0).all(0).sum() == 16 * 24 - (16 - abs(y)) * (24 - abs(x))
        ]
        assert len(fits) == 1
        offsets |= set(fits)
    assert {y for y, _ in offsets} == set(range(-2, 3))
    assert {x for _, x in offsets} == set(range(-3, 4))


def test_cutouts_are_squares_of_up_to_half_the_sides(image):
    holes = (augmented(image, ("cutout",), RGB) == 0).all(1)
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), rows * columns)  # rectangles
    assert (rows.max(), columns.max()) == (8, 12)
    assert rows.min() >= 4  # cut at the border by half, at most


def test_colours_keep_what_is_where(image):
    """Each picture is an affine function of itself and of its grey: no pixel moves."""
    changed = augmented(image, ("colour",), RGB)
    for was, now in zip(image[:8], changed[:8], strict=True):
        one = torch.ones_like(was)
        known = torch.stack([was, was.mean(0, keepdim=True).expand_as(was), one], -1)
        solved = torch.linalg.lstsq(known.reshape(-1, 3), now.reshape(-1, 1))
        assert torch.allclose(known.reshape(-1, 3) @ solved.solution, now.reshape(-1, 1), atol=1e-4)


def test_noise_has_the_deviation_that_was_asked_for(image):
    off = noisy(image, torch.tensor(0.25)) - image
    assert off.std() == pytest.approx(0.25, rel=0.02)
    assert abs(off.mean()) < 0.01
    assert torch.equal(noisy(image, torch.tensor(0.0)), image)


def test_pictures_of_other_channels_keep_apart(image):
    """A grey condition and a coloured picture; alpha is no colour."""
    grey, alpha = torch.full_like(image[:, :1], 0.25), torch.ones_like(image[:, :1])
    both = torch.cat([grey, image, alpha], 1)
    changed = augmented(both, ("colour",), (1, 4))
    assert torch.equal(changed[:, 4:], alpha)
    flat = changed[:, :1].flatten(1)
    assert torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-6)  # constant, as it was
    torch.manual_seed(1)
    first = augmented(both, ("colour",), (1, 4))[:, 1:4]
    torch.manual_seed(1)
    assert torch.equal(first, augmented(image, ("colour",), RGB))
