"""Gradients of one step, by one process or by several; as a script it is one of two."""

import json
from dataclasses import replace

import torch

from img2img.manifest import Labels
from img2img.methods import METHODS
from img2img.methods.base import Method
from img2img.methods.cut import CUTDraws
from img2img.methods.objectives import OBJECTIVES
from img2img.methods.stargan import StarGANDraws
from img2img.methods.step import Batch, Draws
from img2img.training.ranks import Ranks, joined
from img2img.training.runtime import Runtime, seed_step
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

SMALL = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2, "batch": 4, "d_steps": 1, "pool": 0}
# What compares the pictures of a batch with each other is each process's own affair: mmd, minibatch
# layers, BatchNorm, and looking ahead (unroll).
ALONE = [name for name, found in OBJECTIVES.items() if found.answers == 1]
PICTURE_LOSSES = {"tv": 1.0, "ssim": 1.0, "color": 1.0, "edges": 1.0}
ADAPTIVE = {
    "objective": "hinge",
    "augment": ("colour", "cutout"),
    "augment_target": 0.6,
    "augment_ramp": 10**9,
}
CUTMIX = {
    "objective": "hinge",
    "discriminator": "unet",
    "d_width": 4,
    "spectral": False,
    "d_cutmix": 1.0,
}
CASES = [
    *((mode, {"objective": name}) for mode in METHODS for name in ALONE),
    *((mode, {"objective": "hinge", "r1": 1.0, "r2": 0.5}) for mode in METHODS),
    *((mode, {"objective": "minimax", "historical": 0.1}) for mode in METHODS),
    ("pix2pix", {"feature_matching": 1.0}),
    ("pix2pix", {"spectral": True}),
    ("pix2pix", {"tv": 1.0, "ssim": 1.0}),
    # Augmentation itself is each process's own affair; within two steps it is hardly probable.
    *((mode, ADAPTIVE) for mode in METHODS),
    *((mode, PICTURE_LOSSES) for mode in METHODS if mode != "pix2pix"),
    ("pix2pix", {"discriminator": "multiscale", "d_width": 4, "d_layers": 2, "d_scales": 2}),
    ("stargan", {"discriminator": "unet", "d_width": 4, "spectral": False}),
    *((mode, CUTMIX) for mode in METHODS),
]
# Frozen features are computed in single precision, in which results depend on the batch size.
FROZEN = [
    (mode, {"discriminator": "projected", "d_width": 4, "spectral": False, "objective": "hinge"})
    for mode in METHODS
]


def fits(mode: str, settings: dict) -> bool:
    return mode != "stargan" or not OBJECTIVES[settings.get("objective", "bce")].energy


CASES = [case for case in CASES if fits(*case)]


# Of the first picture alone there is a truth, so that one of two processes has none.
PARTLY_PAIRED = [(mode, {"paired": 10.0}) for mode in ("cyclegan", "cut")]


def precision(settings: dict) -> torch.dtype:
    frozen = "perceptual" in settings or "projected" in str(settings)
    return torch.float32 if frozen else torch.float64


def start(mode: str, settings: dict, ranks: Ranks) -> Trainer:
    sets = [{"kind": "classes", "domains": tuple("abc")}]
    own = {
        "pix2pix": {"norm": "instance", "dropout": False},
        "cyclegan": {"blocks": 1},
        "cut": {"blocks": 1, "nce_patches": 16, "nce_width": 8},
        "stargan": {"blocks": 1, "labels": Labels(sets=sets)},
    }
    small = SMALL
    if "discriminator" in settings:
        small = {name: value for name, value in SMALL.items() if not name.startswith("d_")}
        small["d_steps"] = SMALL["d_steps"]
    config = METHODS[mode].Config(**{**small, **own[mode], **settings}, epochs=None, steps=10)
    seed_step(0, 2**40)
    method = METHODS[mode](config).to(precision(settings))
    return Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(config, 10), ranks)


def four_pictures(mode: str, dtype: torch.dtype = torch.float64) -> tuple[Batch, Draws]:
    """A batch of the method, and draws for it."""
    generator = torch.Generator().manual_seed(1)

    def pictures() -> torch.Tensor:
        image = torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
        return image.to(dtype)

    mix = torch.rand(4, 1, 1, 1, generator=generator, dtype=torch.float64)
    mask = torch.rand(4, 1, 32, 32, generator=generator).round().to(dtype)
    draws = Draws(mix, progress=torch.tensor(0.25), penalty_scale=1.0, mask=mask)
    if mode == "cut":
        places = tuple(torch.arange(16) for _ in range(4))  # of the layers of one residual block
        draws = CUTDraws(**vars(draws), places=(places, places), flipped=torch.tensor(True))
    if mode != "stargan":
        return {"a": pictures(), "b": pictures()}, draws
    label = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 1]]
    batch = {"image": pictures(), "domain": label}
    return batch, StarGANDraws(**vars(draws), target=label.flip(0))


def gradients(mode: str, settings: dict, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Of the second step on the rank's share of four pictures: in the first there is no past. In
    single precision of the first step, since Adam's would magnify what was rounded.
    """
    trainer = start(mode, settings, ranks)
    batch, draws = four_pictures(mode, precision(settings))
    if "paired" in settings:
        batch["paired"] = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
        trainer.method.draws = lambda *_: replace(
            draws.split(ranks.count)[ranks.rank],
            truths=Method.draws(trainer.method, mine, draws.progress, 1.0).truths,
        )
    mine = {name: value.chunk(ranks.count)[ranks.rank] for name, value in batch.items()}
    for _ in range(2 if precision(settings) == torch.float64 else 1):
        own = None if "paired" in settings else draws.split(ranks.count)[ranks.rank]
        trainer.update(mine, own)
    found = trainer.method.named_parameters()
    gradients = {name: p.grad.clone() for name, p in found if p.grad is not None}
    if adaptive := trainer.method.adaptive:
        gradients["overfitting"] = adaptive.overfitting.clone()
    return gradients


def furthest(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest difference, in parts of the largest gradient."""
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    return max(float((found[name] - expected[name]).abs().max()) for name in expected) / largest


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as ranks:
        found = []
        for mode, settings in (*CASES, *PARTLY_PAIRED, *FROZEN):
            shared = gradients(mode, settings, ranks)
            if ranks.first:
                found.append(furthest(shared, gradients(mode, settings, Ranks())))
    if ranks.first:
        print(json.dumps(found))
