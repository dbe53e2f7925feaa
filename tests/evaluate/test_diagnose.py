"""Every check catches the disease it is for, made on purpose, and is silent on healthy pictures."""

import numpy as np
import pytest
import torch

from img2img import images
from img2img.evaluate import diagnose
from img2img.evaluate.distances import distances
from img2img.files import pictures
from img2img.infer.registry import shipped
from img2img.methods.objectives import OBJECTIVES


def read(style: str, count: int = 48) -> list[np.ndarray]:
    return [images.read(path).pixels for path in pictures(shipped("quickstart") / "test" / style)][
        :count
    ]


@pytest.fixture(scope="module")
def flat():
    return read("flat")


@pytest.fixture(scope="module")
def truth():
    """The 3D pictures of the same names: what a perfect translator makes of the flat ones."""
    return read("3d")


@pytest.fixture
def random():
    return np.random.default_rng(0)


def shaken(pixels: np.ndarray, random: np.random.Generator, levels: int = 6) -> np.ndarray:
    noise = random.integers(-levels, levels + 1, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("answers", [1, 3])
def test_collapse_is_caught(flat, truth, random, answers):
    """Whatever comes in, one of few answers goes out; all are faint variations of one picture."""
    first = truth[0].astype(float)
    few = [(0.85 * first + 0.15 * truth[i]).astype(np.uint8) for i in range(answers)]
    output = [shaken(few[i % answers], random) for i in range(len(flat))]
    found = diagnose.collapse("ab", flat, output, truth)
    assert found.check == "mode collapse"
    assert "Try" in str(found)


def test_healthy_outputs_are_as_diverse_as_real_ones(flat, truth):
    assert diagnose.collapse("ab", flat, truth, truth) is None
    blurred = [images.resize(images.resize(p, 16, 16), 64, 64) for p in truth]
    assert diagnose.collapse("ab", flat, blurred, truth) is None


def test_real_data_that_are_alike_make_no_collapse(flat, random):
    """Many inputs, one and the same look: outputs may be as alike as the real ones are."""
    alike = [shaken(flat[0], random) for _ in flat]
    assert diagnose.collapse("ab", flat, alike, alike) is None


def kinds(random, counts, spread=1.0):
    """Features of pictures of several kinds, far apart in 16 dimensions."""
    centres = 6 * np.random.default_rng(1).normal(size=(len(counts), 16))
    drawn = [
        centre + spread * random.normal(size=(n, 16))
        for centre, n in zip(centres, counts, strict=True)
    ]
    return np.concatenate(drawn)


def test_a_kind_that_is_never_made_is_caught_and_shown(random):
    real, fake = kinds(random, (60, 60, 60, 60)), kinds(random, (80, 80, 80, 0))
    found = diagnose.dropping("ab", real, fake)
    assert found.check == "mode dropping"
    assert "25% of all pictures" in found.seen
    assert len(found.pictures) == 8
    assert all(index >= 180 for index in found.pictures)  # pictures of the fourth kind


def test_of_many_real_pictures_some_are_clustered_and_examples_keep_their_numbers(
    random, monkeypatch
):
    monkeypatch.setattr(diagnose, "CLUSTERED", 240)
    real, fake = kinds(random, (120, 120, 120, 120)), kinds(random, (80, 80, 80, 0))
    found = diagnose.dropping("ab", real, fake)
    assert found.check == "mode dropping"
    assert all(360 <= index < 480 for index in found.pictures)


@pytest.mark.parametrize("off", [0.0, 3.0])
def test_all_kinds_in_other_shares_or_another_style_are_no_dropping(random, off):
    real, fake = kinds(random, (60, 60, 60, 60)), kinds(random, (90, 40, 50, 60))
    assert diagnose.dropping("ab", real, fake + off) is None


def test_coverage_that_is_lost_is_caught():
    found = diagnose.falling("ab", "coverage", [0.2, 0.5, 0.6, 0.25, 0.2])
    assert found.check == "falling coverage"
    for healthy in ([0.1, 0.3, 0.5], [0.6, 0.5, 0.55, 0.25], [0.02, 0.1, 0.01, 0.02]):
        assert diagnose.falling("ab", "coverage", healthy) is None


def trained_judge(real, fake, steps):
    """A discriminator that is trained on few pictures for long knows them by heart."""
    torch.manual_seed(0)
    judge = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(real[0].numel(), 64), torch.nn.ReLU(),
        torch.nn.Linear(64, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
    for _ in range(steps):
        loss = sum(OBJECTIVES["bce"].d_terms(judge(real), judge(fake)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda x: judge(x).detach().numpy()


def tensors(some):
    small = np.stack([images.resize(p, 16, 16) for p in some])
    return torch.from_numpy(small).permute(0, 3, 1, 2) / 127.5 - 1


def test_a_discriminator_that_memorises_is_caught(truth):
    """Real and fake are drawn from the same pictures: only the memory can tell them apart."""
    shown = tensors(read("3d", 96))
    train, fake, held_out = shown[0:32], shown[32:64], shown[64:96]
    judge = trained_judge(train, fake, 300)
    right = diagnose.accuracies(judge(train), judge(held_out), judge(fake))
    assert diagnose.memorising("ab", *right).check == "overfitting discriminator"
    # One that has learned what real pictures look like, here that they are not negatives.
    judge = trained_judge(train, -shown[32:64], 300)
    right = diagnose.accuracies(judge(train), judge(held_out), judge(-shown[64:96]))
    assert min(right) > 0.85
    assert diagnose.memorising("ab", *right) is None


def test_a_discriminator_that_is_never_wrong_is_caught(random):
    sure = random.normal(10, 1, 900), random.normal(10, 1, 900), random.normal(-10, 1, 900)
    right = diagnose.accuracies(*sure)
    assert right == (1, 1, 1)
    assert diagnose.overpowering("ab", *right).check == "overpowering discriminator"
    unsure = random.normal(1, 1, 900), random.normal(1, 1, 900), random.normal(-1, 1, 900)
    right = diagnose.accuracies(*unsure)
    assert right == pytest.approx([0.84] * 3, abs=0.03)
    assert diagnose.overpowering("ab", *right) is None
    assert diagnose.memorising("ab", *right) is None


def test_gradients_that_vanish_are_caught():
    assert diagnose.vanishing("generators", 1e-6).check == "vanishing gradient"
    assert diagnose.vanishing("generators", 0.0).check == "vanishing gradient"
    assert diagnose.vanishing("generators", 0.3) is None


def hidden(pixels: np.ndarray) -> np.ndarray:
    """The same grey picture for every input, which is hidden in its last two bits."""
    return (128 + np.round(pixels / 255 * 3) - 1.5).astype(np.uint8)


def found_again(pixels: np.ndarray) -> np.ndarray:
    return np.clip((pixels.astype(float) - 126) * 85, 0, 255)


def test_an_input_that_is_hidden_in_the_output_is_caught(flat):
    def way_back(back, output):
        clean, noisy = (
            np.mean([np.abs(back(o) - f).mean() / 127.5 for o, f in zip(some, flat, strict=True)])
            for some in (output, [diagnose.noisy(o, i) for i, o in enumerate(output)])
        )
        return diagnose.cheating("ab", float(clean), float(noisy))

    assert way_back(found_again, [hidden(p) for p in flat]).check == "cycle cheating"
    negatives = [255 - p for p in flat]
    assert way_back(lambda p: 255.0 - p, negatives) is None


def test_noise_is_of_two_levels_and_repeats():
    grey = np.full((8, 8, 3), 128, np.uint8)
    shaken = diagnose.noisy(grey, 3)
    assert set(np.unique(shaken)) == {126, 130}
    assert np.array_equal(shaken, diagnose.noisy(grey, 3))


@pytest.mark.parametrize(
    ("turned", "what"),
    [
        (lambda p: 255 - p, "brightness"),
        (lambda p: np.clip(2 * p.mean(-1, keepdims=True) - p, 0, 255).astype(np.uint8), "hue"),
    ],
)
def test_turned_colours_are_caught(flat, truth, turned, what):
    output = [turned(p) for p in flat]
    for paired in (True, False):
        found = diagnose.colour_inversion("ab", flat, output, truth, paired)
        assert found.check == "colour inversion"
        assert what in found.seen


def test_hues_that_are_turned_in_a_part_of_the_pictures_are_caught(flat, truth):
    """Red and blue are swapped in two of three pictures, as a StarGAN once settled."""
    output = [p[..., ::-1] if i % 3 else p for i, p in enumerate(flat)]
    found = diagnose.colour_inversion("ab", flat, output, truth[::-1], False)
    assert "of the pictures, the hue is inverted" in found.seen


def test_colours_that_stay_or_should_turn_or_are_others_are_fine(flat, truth):
    assert diagnose.colour_inversion("ab", flat, truth, truth, False) is None
    assert diagnose.colour_inversion("ab", flat, truth, truth, True) is None
    negatives = [255 - p for p in flat]
    assert diagnose.colour_inversion("ab", flat, negatives, negatives, True) is None
    grey = [p.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8) for p in flat]
    assert diagnose.colour_inversion("ab", flat, grey, truth, False) is None  # no hue
    recoloured = [*truth[7:], *truth[:7]]  # colours that have nothing to do with the input's
    assert diagnose.colour_inversion("ab", flat, recoloured, truth, False) is None


@pytest.mark.parametrize("period", [2, 4])
def test_a_grid_is_caught_and_measured(truth, period):
    rows, columns = np.indices(truth[0].shape[:2])
    grid = np.where((rows % period == 0) & (columns % period == 0), 12, 0)[..., None]
    output = [np.clip(p.astype(int) - grid, 0, 255).astype(np.uint8) for p in truth]
    found = diagnose.checkerboard("ab", output, truth)
    assert found.check == "checkerboard"
    # A grid that is -12 at one place of period squared has this deviation from its mean.
    share = 1 / period**2
    strength = np.sqrt(diagnose.grid_energy(output)[1] ** 2 - diagnose.grid_energy(truth)[1] ** 2)
    assert strength == pytest.approx(12 * np.sqrt(share * (1 - share)), rel=0.15)
    assert f"a grid of {strength:.1f} grey levels" in found.seen


def test_pictures_without_a_grid_are_fine(flat, truth, random):
    blurred = [images.resize(images.resize(p, 32, 32), 64, 64) for p in truth]
    noisy = [shaken(p, random, 12) for p in truth]
    for output in (truth, flat, blurred, noisy):
        assert diagnose.checkerboard("ab", output, truth) is None


def dirac_gan(damping: float, steps: int = 1200, rate: float = 0.1) -> list[float]:
    """The generator's loss of a GAN with one parameter a side (Mescheder et al. 2018, section 2),
    mean by mean of ten steps: it circles around the solution unless its slope is damped.
    """
    objective = OBJECTIVES["wgan-gp"]
    psi, theta = (torch.tensor(x, requires_grad=True) for x in (0.5, 1.0))
    losses = []
    for _ in range(steps):
        loss = sum(objective.d_terms(psi * 0.0, psi * theta.detach()).values())
        (slope,) = torch.autograd.grad(loss + damping * psi**2 / 2, psi)
        psi = (psi - rate * slope).detach().requires_grad_()
        loss = objective.g_loss(psi * theta)
        (slope,) = torch.autograd.grad(loss, theta)
        theta = (theta - rate * slope).detach().requires_grad_()
        losses.append(loss.item())
    return np.reshape(losses, (-1, 5)).mean(1).tolist()


def test_a_gan_that_circles_is_caught_and_a_damped_one_is_not():
    assert diagnose.oscillation("g/adversarial", dirac_gan(0)).check == "oscillation"
    assert diagnose.oscillation("g/adversarial", dirac_gan(0.3)) is None


def test_losses_that_are_noisy_or_fall_do_not_oscillate(random):
    falling = 3 * np.exp(-np.arange(64) / 20)
    for trial in range(100):
        noise = np.random.default_rng(trial).normal(size=64)
        walk = 2 + 0.1 * np.cumsum(noise)
        for healthy in (1 + 0.5 * noise, falling + 0.1 * noise, walk):
            assert diagnose.oscillation("d/real", healthy.tolist()) is None


def test_few_pictures_say_nothing(flat, truth):
    alike, some = [truth[0]] * 8, flat[:8]
    assert diagnose.collapse("ab", some, alike, truth[:8]) is None
    assert diagnose.colour_inversion("ab", some, [255 - p for p in some], some, False) is None
    assert diagnose.checkerboard("ab", some, truth[:8]) is None


def test_diversity_is_the_mean_distance_between_two_thumbnails():
    black, white = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    assert diagnose.diversity([black, white]) == pytest.approx(2)
    assert diagnose.diversity([black, black, white]) == pytest.approx(4 / 3)
    assert distances(np.zeros((1, 2)), np.ones((1, 2)))[0, 0] == pytest.approx(np.sqrt(2))
