"""The state of training that a checkpoint holds."""

import torch

from img2img.training import checkpoint


def state(run):
    return checkpoint.load(run / "checkpoints" / "last.pt")["trainer"]


def assert_bitwise(first, second, path="") -> None:
    """Nested states with every tensor equal to the last bit."""
    assert type(first) is type(second), path
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_bitwise(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_bitwise(*pair, f"{path}/{index}")
    else:
        assert first == second, path
