"""Ten optimiser steps of the authors' code, through our real method and training step."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from img2img.methods import METHODS
from img2img.train.runtime import Runtime
from img2img.train.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TOLERANCE = 1e-6  # relative, in float64
ONE_EPOCH = 10**9  # the rate stays constant


def make_trainer(mode: str, files: dict[str, Path], **settings) -> Trainer:
    """files: "generators.ab" -> the published state dict."""
    method = METHODS[mode](METHODS[mode].Config(**settings)).double()
    for name, path in files.items():
        part = method.get_submodule(name)
        state = torch.load(path, weights_only=True)
        # StarGAN's files carry running statistics that nothing reads.
        part.load_state_dict({k: v for k, v in state.items() if k in part.state_dict()})
    return Trainer(method, Runtime("cpu", "fp32"), seed=0, epoch_steps=ONE_EPOCH)


def assert_trajectory(trainer, batches, folder, named) -> None:
    """named: the authors' loss -> a function of our terms."""
    golden = json.loads((folder / "trajectory.json").read_text())["losses"]
    for step, losses in enumerate(golden):
        terms = {name: term.item() for name, term in trainer.update(batches(step)).items()}
        for name, expected in losses.items():
            assert named[name](terms) == pytest.approx(expected, rel=TOLERANCE), (step, name)


def assert_norms(trainer, folder, parts) -> None:
    """parts: the authors' network -> ours; every tensor's sum and L2 norm after the last step."""
    golden = json.loads((folder / "after10_norms.json").read_text())
    compared = 0
    for theirs, ours in parts.items():
        state = trainer.method.get_submodule(ours).state_dict()
        for name, (total, norm) in golden[theirs].items():
            if name in state and not name.endswith("num_batches_tracked"):
                tensor = state[name].double()
                assert tensor.norm().item() == pytest.approx(norm, rel=TOLERANCE), name
                assert tensor.sum().item() == pytest.approx(total, rel=TOLERANCE, abs=1e-6), name
                compared += 1
    assert compared > 10


def test_cyclegan_trains_step_for_step_like_the_authors_code():
    folder = GOLDEN / "cyclegan"
    parts = {
        "G_A": "generators.ab",
        "G_B": "generators.ba",
        "D_A": "discriminators.b",
        "D_B": "discriminators.a",
    }
    files = {ours: folder / f"init_net_{theirs}.pth" for theirs, ours in parts.items()}
    trainer = make_trainer("cyclegan", files, size=64, width=8, d_width=8, blocks=6, pool=0)
    data = load_file(folder / "batches.safetensors")

    def batch(step):
        return {k: data[k.upper()][step : step + 1].double() for k in "ab"}

    images = trainer.method.scene(batch(0))
    golden_images = load_file(folder / "step1_images.safetensors")
    names = {"fake_B": "fake_b", "fake_A": "fake_a", "rec_A": "cycle_a", "rec_B": "cycle_b"}
    for theirs, ours in names.items():
        difference = (images[ours] - golden_images[theirs]).abs().max()
        assert difference < TOLERANCE, theirs

    assert_trajectory(
        trainer,
        batch,
        folder,
        {
            "G_A": lambda t: t["g/adversarial_ab"],
            "G_B": lambda t: t["g/adversarial_ba"],
            "cycle_A": lambda t: t["g/cycle_a"],
            "cycle_B": lambda t: t["g/cycle_b"],
            "idt_A": lambda t: t["g/identity_b"],
            "idt_B": lambda t: t["g/identity_a"],
            "D_A": lambda t: t["d/real_b"] + t["d/fake_b"],
            "D_B": lambda t: t["d/real_a"] + t["d/fake_a"],
        },
    )
    assert_norms(trainer, folder, parts)


def test_pix2pix_trains_step_for_step_like_the_authors_code():
    folder = GOLDEN / "pix2pix"
    parts = {"G": "generators.ab", "D": "discriminators.b"}
    files = {ours: folder / f"init_net_{theirs}.pth" for theirs, ours in parts.items()}
    trainer = make_trainer("pix2pix", files, width=4, d_width=8, dropout=False)
    # The file was made with ReLU here, see tests/data/golden/README.md; ours has LeakyReLU.
    judge = trainer.method.discriminators["b"].model
    judge[4], judge[7] = nn.ReLU(), nn.ReLU()
    data = load_file(folder / "batches.safetensors")

    def batch(step):
        return {k: data[k.upper()][step : step + 1].double() for k in "ab"}

    fake = trainer.method.scene(batch(0))["fake_b"]
    golden_fake = load_file(folder / "step1_images.safetensors")["fake_B"]
    assert (fake - golden_fake).abs().max() < TOLERANCE
    trainer = make_trainer("pix2pix", files, width=4, d_width=8, dropout=False)  # fresh averages
    judge = trainer.method.discriminators["b"].model
    judge[4], judge[7] = nn.ReLU(), nn.ReLU()

    assert_trajectory(
        trainer,
        batch,
        folder,
        {
            "G_GAN": lambda t: t["g/adversarial"],
            "G_L1": lambda t: t["g/l1"],
            "D_real": lambda t: 2 * t["d/real"],  # theirs is written down before halving
            "D_fake": lambda t: 2 * t["d/fake"],
        },
    )
    assert_norms(trainer, folder, parts)


@pytest.mark.parametrize(("name", "labels"), [("rafd", "classes"), ("celeba", "attributes")])
def test_stargan_trains_step_for_step_like_the_authors_code(name, labels):
    folder = GOLDEN / "stargan" / name
    parts = {"G": "generators.any", "D": "discriminators.all"}
    files = {ours: folder / f"init-{theirs}.ckpt" for theirs, ours in parts.items()}
    sizes = {"size": 64, "width": 8, "d_width": 8, "blocks": 2, "d_layers": 4, "batch": 4}
    trainer = make_trainer(
        "stargan", files, **sizes, labels={"sets": [{"kind": labels, "domains": tuple("abcde")}]}
    )
    data = load_file(folder / "batches.safetensors")

    def batch(step):
        label = data["labels"][step]
        return {
            "image": data["images"][step].double(),
            "domain": torch.eye(5)[label].double() if labels == "classes" else label.double(),
            "mix": data["alpha"][step],
            "permutation": data["permutation"][step],
        }

    assert_trajectory(
        trainer,
        batch,
        folder,
        {
            "D/loss_real": lambda t: t["d/real"],
            "D/loss_fake": lambda t: t["d/fake"],
            "D/loss_cls": lambda t: t["d/classification"],
            "D/loss_gp": lambda t: t["d/gradient_penalty"] / 10,  # theirs without the weight
            "G/loss_fake": lambda t: t["g/adversarial"],
            "G/loss_rec": lambda t: t["g/reconstruction"] / 10,
            "G/loss_cls": lambda t: t["g/classification"],
        },
    )
    assert_norms(trainer, folder, parts)
