"""The step: nothing in a turn depends on the values of tensors, and groups learn in their turns."""

import copy
from dataclasses import fields

import pytest
import torch
from gradients import four_pictures, precision, start
from states import assert_bitwise
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from img2img.methods import METHODS
from img2img.methods.pix2pix import Pix2Pix
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

# What hands a tensor's value, or a shape that depends on values, to Python.
VALUES = (
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten.equal,
    torch.ops.aten.is_nonzero,
)


class ValuesRefused(TorchDispatchMode):
    """Raises where Python asks for what a tensor holds, which on a GPU waits for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        mask = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if mask or func.overloadpacket in VALUES:
            raise AssertionError(f"{func} in a turn")
        return func(*args, **(kwargs or {}))


SETTINGS = [
    {},
    {"accumulate": 2},
    {"recompute": True},
    {"noise": 0.1, "augment": ("colour", "translation", "cutout")},
    {"objective": "hinge", "r1": 1.0, "r2": 1.0, "penalty_every": 2},
    {"objective": "wgan-gp"},
    {"objective": "mmd"},
    {"objective": "wgan", "clip": 0.01},
    {"objective": "bce", "feature_matching": 1.0, "minibatch": "std"},
    {"objective": "bce", "minibatch": "discrimination", "spectral": True},
    {"objective": "lsgan", "unroll": 2},
    {"objective": "hinge", "augment": ("cutout",), "augment_target": 0.6},
    {"objective": "rpgan", "augment": ("cutout",), "augment_target": 0.6},
    {"tv": 1.0, "ssim": 1.0, "color": 1.0, "edges": 1.0},
    {"objective": "hinge", "discriminator": "projected", "augment": ("colour", "cutout")},
    {"objective": "bce", "discriminator": "unet", "perceptual": 1.0},
    {"objective": "hinge", "discriminator": "unet", "d_cutmix": 1.0, "accumulate": 2},
    {"objective": "bce", "discriminator": "multiscale", "d_layers": 2, "d_scales": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("mode", METHODS)
def test_no_turn_asks_for_the_value_of_a_tensor(mode, settings, monkeypatch):
    if METHODS[mode].pooled and "discriminator" not in settings:  # a pool computes features anew
        settings = settings | {"pool": 3}  # full in the second step
    trainer, turns = start(mode, settings, Ranks()), []
    backward, adapt = trainer._backward, trainer._adapt

    def guarded(side, *arguments):
        turns.append(side)
        with ValuesRefused():
            return backward(side, *arguments)

    def adapting(terms):
        with ValuesRefused():
            return adapt(terms)

    monkeypatch.setattr(trainer, "_backward", guarded)
    monkeypatch.setattr(trainer, "_adapt", adapting)
    for _ in range(2):
        terms = trainer.update(*four_pictures(mode, precision(settings)))
    assert all(term.isfinite() for term in terms.values())
    assert set(turns) == {"generators", "discriminators"}


def test_the_guard_sees_what_it_should():
    value = torch.ones(2)
    for ask in (lambda: value.sum().item(), lambda: bool(value[0] > 0), lambda: value[value > 0]):
        with ValuesRefused(), pytest.raises(AssertionError, match="in a turn"):
            ask()


@pytest.mark.parametrize("mode", METHODS)
def test_draws_are_split_with_the_pictures(mode):
    _, draws = four_pictures(mode)
    first, second = draws.split(2)
    assert type(first) is type(draws)
    for field in fields(draws):
        whole, *parts = (vars(each)[field.name] for each in (draws, first, second))
        if isinstance(whole, torch.Tensor) and whole.ndim:
            assert torch.equal(torch.cat(parts), whole)
        else:
            assert parts == [whole, whole]


class WithHeads(Pix2Pix):
    """A method with a third group of networks, which learns in the generators' turn."""

    learners = Pix2Pix.learners | {"heads": "generators"}

    def __init__(self, config):
        super().__init__(config)
        self.heads = nn.ModuleDict({"b": nn.Conv2d(3, 3, 1)})

    def g_terms(self, batch, scene, draws):
        shown = self.heads["b"](scene["fake_b"])
        return super().g_terms(batch, scene, draws) | {"head": (shown - batch["b"]).abs().mean()}


def with_heads(**settings):
    sizes = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2, "batch": 4, "norm": "instance"}
    torch.manual_seed(0)
    method = WithHeads(WithHeads.Config(**sizes, epochs=None, steps=10, **settings)).double()
    return Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(method.config, 10))


def test_a_third_group_learns_in_the_turn_that_it_names(monkeypatch):
    trainer = with_heads(d_steps=2, historical=0.1)
    moved = []
    for _ in range(4):
        before = trainer.method.heads["b"].weight.clone()
        trainer.update(*four_pictures("pix2pix"))
        moved.append(not torch.equal(before, trainer.method.heads["b"].weight))
    assert moved == [False, True, False, True]
    saved = copy.deepcopy(trainer.state_dict())
    assert set(saved["optimizers"]) == {"generators", "discriminators", "heads"}
    again = with_heads(d_steps=2, historical=0.1)
    again.load_state_dict(saved)
    for _ in range(2):
        for each in (trainer, again):
            each.update(*four_pictures("pix2pix"))
    assert_bitwise(trainer.state_dict(), again.state_dict())
