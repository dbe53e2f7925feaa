"""A recorded step does what a plain one does, with all that changes from step to step."""

import copy

import pytest
import torch
from gradients import fits, four_pictures, precision, start
from recording import RecordedOnCpu
from states import assert_bitwise

from img2img.methods import METHODS
from img2img.methods.objectives import OBJECTIVES
from img2img.training import graph
from img2img.training.ranks import Ranks
from img2img.training.trainer import Trainer

CASES = [
    *((mode, {"objective": name}) for mode in METHODS for name in OBJECTIVES),
    *((mode, {"objective": "hinge", "augment": ("colour", "cutout")}) for mode in METHODS),
    *((mode, {"objective": "hinge", "r1": 1.0, "penalty_every": 2}) for mode in METHODS),
    ("pix2pix", {"noise": 0.1, "smooth": 0.1, "objective": "bce", "dropout": True}),
    ("pix2pix", {"objective": "wgan", "clip": 0.01}),
    (
        "pix2pix",
        {"objective": "bce", "minibatch": "std", "spectral": True, "feature_matching": 1.0},
    ),
    ("pix2pix", {"objective": "hinge", "augment": ("cutout",), "augment_target": 0.6}),
    ("pix2pix", {"objective": "hinge", "discriminator": "unet", "d_cutmix": 1.0}),
    ("pix2pix", {"objective": "hinge", "discriminator": "projected", "perceptual": 1.0}),
    ("stargan", {"objective": "wgan-gp", "d_steps": 2}),
]


def run(trainer, settings: dict, mode: str, steps: int) -> list[dict[str, float]]:
    """The terms of steps on pictures that differ from step to step."""
    terms = []
    for step in range(steps):
        batch, _ = four_pictures(mode, precision(settings))
        batch = {name: value.roll(step, 0) for name, value in batch.items()}
        terms.append({name: float(value) for name, value in trainer.update(batch).items()})
    return terms


def rated(mode: str, settings: dict):
    """A trainer whose rates, noise and pool change from step to step."""
    settings = {"decay": 0.9, **settings}
    if METHODS[mode].pooled and "discriminator" not in settings:
        settings |= {"pool": 3}
    return start(mode, settings, Ranks())


def use_rate(trainer: Trainer, rate: float | torch.Tensor) -> None:
    """What keeps the learning rate, which each step sets: a number, or a tensor as on a GPU."""
    for optimizer in trainer.optimizers.values():
        optimizer.param_groups[0]["lr"] = rate


def recorded(mode: str, settings: dict, say=pytest.fail):
    """A trainer with a recorder, and the rates in tensors as on a GPU."""
    trainer = rated(mode, settings)
    use_rate(trainer, torch.tensor(0.0))
    trainer.graphs = RecordedOnCpu(say)
    return trainer


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(graph, "WARM_UP", 1)


@pytest.mark.parametrize(("mode", "settings"), [case for case in CASES if fits(*case)], ids=str)
def test_recorded_steps_equal_plain_ones(mode, settings):
    plain, recording = rated(mode, settings), recorded(mode, settings)
    use_rate(plain, torch.tensor(0.0))
    assert run(recording, settings, mode, 5) == run(plain, settings, mode, 5)
    assert_bitwise(recording.state_dict(), plain.state_dict())
    assert all(kind.recording for kind in recording.graphs.kinds.values())


def test_a_number_in_python_would_stay_as_it_was_recorded():
    plain, recording = rated("pix2pix", {}), recorded("pix2pix", {})
    use_rate(recording, 0.0)
    assert run(recording, {}, "pix2pix", 6) != run(plain, {}, "pix2pix", 6)


def test_steps_of_another_kind_get_a_recording_of_their_own():
    trainer = recorded("pix2pix", {"objective": "hinge", "r1": 1.0, "penalty_every": 2})
    run(trainer, {}, "pix2pix", 4)
    assert len(trainer.graphs.kinds) == 2  # with the penalty, and without


def test_ranks_average_between_the_pieces_of_a_recording(monkeypatch):
    averaged = []
    monkeypatch.setattr(Ranks, "average", lambda self, tensors: averaged.append(len(tensors)))
    monkeypatch.setattr(Ranks, "copy_first", lambda *_: None)
    trainer = start("pix2pix", {}, Ranks(0, 2))
    use_rate(trainer, torch.tensor(0.0))
    trainer.graphs = RecordedOnCpu(pytest.fail)
    run(trainer, {}, "pix2pix", 3)
    [kind] = trainer.graphs.kinds.values()
    assert len(kind.recording.acts) == 5  # three pieces, and the averages of both sides
    assert len(averaged) == 6
    assert averaged[:2] == averaged[2:4] == averaged[4:]


def test_what_cannot_be_recorded_is_done_plainly_and_named(monkeypatch):
    said = []
    plain, trainer = rated("pix2pix", {}), recorded("pix2pix", {}, said.append)
    terms = type(trainer.method).g_terms

    def looking(self, *arguments):
        values = terms(self, *arguments)
        assert float(values["l1"].detach()) >= 0
        return values

    monkeypatch.setattr(type(trainer.method), "g_terms", looking)
    use_rate(plain, torch.tensor(0.0))
    assert run(trainer, {}, "pix2pix", 4) == run(plain, {}, "pix2pix", 4)
    assert said == [
        "Steps can't be recorded as CUDA graphs, and take longer: operation not permitted when "
        "stream is capturing"
    ]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"accumulate": 2, "recompute": True}, "accumulate, recompute"),
        ({"objective": "lsgan", "unroll": 2}, "unroll"),
        ({"objective": "minimax", "historical": 0.1}, "historical"),
    ],
)
def test_settings_that_exclude_recording_are_named(settings, names):
    said = []
    trainer = start("pix2pix", settings, Ranks())
    trainer.record(said.append)
    assert trainer.graphs is None
    assert said == [f"With {names}, steps are not recorded as CUDA graphs, and take longer."]


def test_moments_are_loaded_into_the_optimizer_of_another_device():
    trainer, other = rated("pix2pix", {}), rated("pix2pix", {})
    run(trainer, {}, "pix2pix", 2)
    state = copy.deepcopy(trainer.state_dict())
    for optimizer in state["optimizers"].values():  # as a GPU saves it
        optimizer["param_groups"][0] |= {"lr": torch.tensor(0.5), "capturable": True}
    other.load_state_dict(state)
    [group] = other.optimizers["generators"].param_groups
    assert (group["capturable"], type(group["lr"])) == (False, float)
    assert run(other, {}, "pix2pix", 2) == run(trainer, {}, "pix2pix", 2)
