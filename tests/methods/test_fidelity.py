"""Losses on pictures without a discriminator: what each allows, and what it counts."""

import pytest
import torch
import torch.nn.functional as F

from img2img.methods.fidelity import color_distance, edge_distance, total_variation


@pytest.fixture
def image():
    torch.manual_seed(0)
    coarse = torch.rand(2, 3, 5, 6, dtype=torch.float64) * 2 - 1
    return F.interpolate(coarse, (40, 48), mode="bilinear", align_corners=False)


def test_total_variation_counts_steps_and_is_0_for_flat_pictures():
    assert total_variation(torch.full((1, 3, 8, 8), 0.3)) == 0
    halves = torch.cat([torch.zeros(1, 3, 8, 4), torch.ones(1, 3, 8, 4)], 3)
    assert total_variation(halves).item() == pytest.approx(1 / 7)  # one of 7 steps in each row
    assert total_variation(2 * halves.mT).item() == pytest.approx(2 / 7)


def test_total_variation_falls_with_blur(image):
    rough = image + 0.2 * torch.randn_like(image)
    assert total_variation(F.avg_pool2d(rough, 3, 1)) < 0.7 * total_variation(rough)


def test_colors_may_have_any_texture_within_a_block(image):
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double().repeat(20, 24)
    assert color_distance(image + 0.3 * checks, image).item() == pytest.approx(0, abs=1e-12)
    assert color_distance(image + 0.3, image).item() == pytest.approx(0.3)


def test_colors_of_a_part_of_a_block_count_as_its_mean():
    wide = torch.zeros(1, 3, 8, 12)
    wide[..., 8:] = 0.4
    assert color_distance(wide, torch.zeros_like(wide)).item() == pytest.approx(0.2)


def test_edges_may_change_strength_sign_and_color(image):
    gray = image[:, :1]
    tinted = gray * torch.tensor([0.9, 0.4, 0.2]).double().view(1, 3, 1, 1)
    for other in (gray, -gray, 0.5 * gray, tinted):
        assert edge_distance(other, gray).item() == pytest.approx(0, abs=2e-3)


def test_edges_elsewhere_count(image):
    assert edge_distance(image.flip(3), image).item() > 0.5
    assert edge_distance(torch.zeros_like(image), image).item() == pytest.approx(1)


def test_edges_are_counted_picture_by_picture(image):
    dim = image * torch.tensor([1.0, 0.1]).double().view(2, 1, 1, 1)
    moved = torch.cat([image[:1], image[1:].flip(3)])
    each = [edge_distance(x[None], y[None]) for x, y in zip(moved, dim, strict=True)]
    mean = torch.stack(each).mean().item()
    assert edge_distance(moved, dim).item() == pytest.approx(mean, rel=1e-9)
    assert mean > 0.25


@pytest.mark.parametrize("distance", [color_distance, edge_distance])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gradients_are_finite_also_for_flat_and_equal_pictures(distance, channels):
    for other in (torch.zeros(1, channels, 16, 16), torch.rand(1, channels, 16, 16)):
        output = other.clone().requires_grad_()
        (slope,) = torch.autograd.grad(distance(output, other), output)
        assert slope.isfinite().all()
