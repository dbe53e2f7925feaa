"""Distances against closed forms for known distributions, and against torch-fidelity."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd
from torch_fidelity.metric_prc import prc_features_to_metric

from img2img.evaluate import distances as distances_module
from img2img.evaluate.distances import (
    Kernel,
    Neighbours,
    bootstrap,
    frechet,
    inception_score,
    kernel,
    nearest,
    reach,
)


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.fixture
def two(random):
    """300 and 300 features of 24 dimensions, correlated, shifted and scaled."""
    mix = random.normal(size=(24, 24))
    return random.normal(size=(300, 24)) @ mix, random.normal(0.4, 1.3, size=(300, 24)) @ mix


def around(real, fake):
    """Each picture counted once."""
    values = Neighbours(real, fake)(np.ones((1, len(real))), np.ones((1, len(fake))))
    return {name: value[0] for name, value in values.items()}


def whitened(features):
    """The same, with exactly mean 0 and covariance 1."""
    centred = features - features.mean(0)
    return centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False))).T


def test_frechet_of_gaussians_is_the_closed_form(random):
    x, y = whitened(random.normal(size=(200, 6))), whitened(random.normal(size=(150, 6)))
    shift, scale = np.arange(6.0), np.array([1, 2, 0.5, 3, 1, 0.1])
    expected = np.square(shift).sum() + np.square(1 - scale).sum()
    assert frechet(x, y * scale + shift) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_torch_fidelitys(two):
    stats = [fid_features_to_statistics(torch.from_numpy(x)) for x in two]
    expected = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert frechet(*two) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_pictures_than_features_is_exact(random):
    """In the plane that the pictures span the closed form holds as well."""
    x, y = whitened(random.normal(size=(20, 3))), whitened(random.normal(size=(20, 3)))
    inside, _ = np.linalg.qr(random.normal(size=(50, 3)))
    assert frechet(x @ inside.T, (2 * y + 1) @ inside.T) == pytest.approx(6, rel=1e-9)
    assert frechet(x @ inside.T, x @ inside.T) == pytest.approx(0, abs=1e-9)


def test_kernel_is_torch_fidelitys(two):
    settings = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3}
    settings |= {"kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    assert kernel(*two) == pytest.approx(kernel_mmd(*two, **settings), rel=1e-9)


def test_kernel_is_unbiased_around_zero_for_one_distribution(random):
    values = [kernel(*random.normal(size=(2, 40, 5))) for _ in range(400)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * standard_error
    assert min(values) < 0


def test_kernel_of_point_masses_is_the_closed_form():
    """k(x, x) + k(y, y) - 2 k(x, y) for k = (x.y / 2 + 1)^3."""
    x, y = np.tile([1.0, 1.0], (5, 1)), np.tile([0.0, 2.0], (7, 1))
    assert kernel(x, y) == pytest.approx(2**3 + 3**3 - 2 * 2**3)


def test_precision_and_recall_are_torch_fidelitys(two):
    real, fake = (torch.from_numpy(x) for x in two)
    settings = {"prc_neighborhood": 5, "prc_batch_size": 1000, "save_cpu_ram": False}
    expected = prc_features_to_metric(fake, real, verbose=False, **settings)
    ours = around(*two)
    assert 0 < expected["precision"] < 1
    assert ours["precision"] == pytest.approx(expected["precision"], abs=1e-7)
    assert ours["recall"] == pytest.approx(expected["recall"], abs=1e-7)


def test_a_collapsed_generator_has_precision_without_coverage(random):
    real = random.normal(size=(200, 4))
    collapsed = np.tile(real[:1], (200, 1)) + random.normal(0, 1e-3, size=(200, 4))
    found = around(real, collapsed)
    assert found["precision"] == 1
    assert found["coverage"] < 0.2
    assert found["recall"] < 0.1


def test_the_same_distribution_covers_itself(random):
    real, fake = random.normal(size=(2, 400, 3))
    found = around(real, fake)
    # The expected coverage of k neighbours is 1 - 1 / 2^k (Naeem et al. 2020, section 3.2).
    assert found["coverage"] == pytest.approx(1 - 0.5**5, abs=0.04)
    assert found["density"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("classes", [2, 10])
def test_inception_score_of_certain_even_classes_is_their_number(classes):
    logits = 1e4 * np.eye(classes)[np.arange(40 * classes) % classes]
    assert inception_score(logits) == pytest.approx(classes)
    assert inception_score(np.zeros((30, classes))) == pytest.approx(1)


def test_inception_score_is_torch_fidelitys(random):
    logits = random.normal(size=(100, 12)) * 3
    expected = isc_features_to_metric(torch.from_numpy(logits), splits=1, shuffle=False)
    assert inception_score(logits) == pytest.approx(expected["inception_score_mean"], rel=1e-9)


def test_bootstrap_repeats_bitwise_and_brackets_the_value(two):
    distance = Kernel(*two)
    first, second = (bootstrap(distance, (300, 300), seed=3, times=50) for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high
    assert first.value == pytest.approx(kernel(*two), rel=1e-12)  # rounded in another order
    assert bootstrap(distance, (300, 300), seed=4, times=50) != first


def test_blocks_change_no_value(two, monkeypatch):
    """Against the whole matrix at once: 7 rows at a time, and a last one of fewer."""
    real, fake = two
    weights = np.random.default_rng(1).multinomial(300, np.full(300, 1 / 300), size=(2, 9)) * 1.0
    expected = Kernel(real, fake)(*weights), Neighbours(real, fake)(*weights)
    expected_reach, expected_nearest = reach(real), nearest(real, fake)
    monkeypatch.setattr(distances_module, "BLOCK", 7 * 300)
    assert Kernel(real, fake)(*weights) == pytest.approx(expected[0], rel=1e-12)
    for name, values in Neighbours(real, fake)(*weights).items():
        assert values == pytest.approx(expected[1][name], rel=1e-12)
    assert reach(real) == pytest.approx(expected_reach, rel=1e-9)
    assert nearest(real, fake) == pytest.approx(expected_nearest, rel=1e-9)


def test_kernel_of_a_resample_is_that_of_its_pictures_without_doubles(random):
    """Weights are counts: a pair of doubles of one picture is left out."""
    real, fake = random.normal(size=(2, 30, 4))
    weights = random.multinomial(30, np.full(30, 1 / 30), size=(2, 1)) * 1.0
    k = [(a @ b.T / 4 + 1) ** 3 for a, b in ((real, real), (fake, fake), (real, fake))]
    off = [x - np.diag(np.diag(x)) for x in k[:2]]
    (w,), (v,) = weights
    within = w @ off[0] @ w / (w.sum() ** 2 - w @ w) + v @ off[1] @ v / (v.sum() ** 2 - v @ v)
    expected = within - 2 * w @ k[2] @ v / (w.sum() * v.sum())
    assert Kernel(real, fake)(*weights)[0] == pytest.approx(expected, rel=1e-12)


def test_memory_is_bounded_by_blocks(random, monkeypatch):
    """One matrix of all pictures would take 32 MB."""
    real, fake = random.normal(size=(2, 2000, 16)).astype(np.float32)
    weights = np.ones((3, 2000))
    monkeypatch.setattr(distances_module, "BLOCK", 2**16)
    tracemalloc.start()
    Kernel(real, fake)(weights, weights)
    Neighbours(real, fake)(weights, weights)
    nearest(real, fake)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says(random):
    """The mean of 40 draws, 300 times: 95 % give or take the bootstrap's own error."""
    hits = 0
    for trial in range(300):
        values = random.normal(size=40)
        found = bootstrap(lambda w, v=values: w @ v / w.sum(1), (40,), trial, 200)
        hits += found.low <= 0 <= found.high
    assert 0.88 < hits / 300 < 0.98


def test_kernel_interval_is_not_shifted_by_doubles_in_a_resample(random):
    real, fake = random.normal(size=(2, 60, 8))
    found = bootstrap(Kernel(real, fake), (60, 60), seed=0)
    assert abs((found.low + found.high) / 2 - found.value) < 0.5 * (found.high - found.low)
    assert found.low < 0 < found.high
