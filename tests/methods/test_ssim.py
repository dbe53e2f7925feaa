"""MS-SSIM as a loss: equal to scikit-image's SSIM at each scale, and differentiable everywhere."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity

from img2img.methods.ssim import WEIGHTS, ms_ssim


def picture(size=64, count=1, channels=3):
    torch.manual_seed(0)
    coarse = torch.rand(count, channels, size // 8, size // 8, dtype=torch.float64) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)


def noisy(image, deviation):
    torch.manual_seed(1)
    return (image + deviation * torch.randn_like(image)).clamp(-1, 1)


def skimages(a, b):
    """The mean SSIM of [1, C, H, W] in [-1, 1]."""
    first, second = (np.moveaxis(image[0].numpy(), 0, -1) for image in (a, b))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(first, second, channel_axis=2, data_range=2, **settings)


def test_one_scale_is_the_ssim_of_scikit_image():
    a = picture(24)[..., :21, :21]  # half of it has no room for the window
    b = noisy(a, 0.2)
    assert ms_ssim(a, b).item() == pytest.approx(skimages(a, b), rel=1e-6)


def means(a, b):
    """SSIM and its factor for contrast and structure in each channel, by windows in numpy."""
    at = np.arange(11) - 5
    window = np.exp(-(at**2) / 4.5)
    window = np.outer(window, window) / window.sum() ** 2
    ssims, structures = [], []
    for x, y in zip(a[0].numpy(), b[0].numpy(), strict=True):
        x, y = (np.lib.stride_tricks.sliding_window_view(z, (11, 11)) for z in (x, y))
        mx, my = ((z * window).sum((2, 3)) for z in (x, y))
        vx, vy = (((z**2) * window).sum((2, 3)) - m**2 for z, m in ((x, mx), (y, my)))
        xy = (x * y * window).sum((2, 3)) - mx * my
        structure = (2 * xy + 0.06**2) / (vx + vy + 0.06**2)
        ssims.append((structure * (2 * mx * my + 0.02**2) / (mx**2 + my**2 + 0.02**2)).mean())
        structures.append(structure.mean())
    return np.array(ssims), np.array(structures)


@pytest.mark.parametrize(("size", "scales"), [(44, 3), (64, 3), (180, 5)])
def test_scales_are_multiplied_with_the_weights_of_the_paper(size, scales):
    a = picture(184)[..., :size, :size]
    b = noisy(a, 0.3)
    product, weights = 1.0, np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    x, y = a, b
    for scale, weight in enumerate(weights):
        ssim, structure = means(x, y)
        product = product * (ssim if scale == scales - 1 else structure) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    assert ms_ssim(a, b).item() == pytest.approx(product.mean(), rel=1e-6)
    assert means(a, b)[0].mean() == pytest.approx(skimages(a, b), rel=1e-6)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_equal_pictures_have_1_and_more_noise_means_less(size):
    a = picture(size, count=2)
    values = [ms_ssim(a, noisy(a, deviation)).item() for deviation in (0.0, 0.1, 0.3, 1.0)]
    assert values[0] == pytest.approx(1, abs=1e-12)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5


def test_it_is_the_mean_over_the_pictures():
    a = picture(32, count=3)
    b = noisy(a, 0.3)
    each = [ms_ssim(x[None], y[None]) for x, y in zip(a, b, strict=True)]
    assert ms_ssim(a, b).item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-9)


@pytest.mark.parametrize("other", ["equal", "opposite", "flat"])
def test_its_gradient_is_finite_where_similarity_is_1_negative_or_undefined(other):
    a = picture(48).float()
    b = {"equal": a.clone(), "opposite": -a, "flat": torch.zeros_like(a)}[other]
    b.requires_grad_()
    (slope,) = torch.autograd.grad(ms_ssim(a, b), b)
    assert slope.isfinite().all()


def test_half_precision_is_computed_in_full():
    a = picture(32).float()
    b = noisy(a, 0.3)
    halves = [image.bfloat16() for image in (a, b)]
    expected = ms_ssim(*(half.float() for half in halves))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ms_ssim(*halves), expected)
