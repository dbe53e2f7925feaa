"""A recording of the operations on a CPU that behaves as a CUDA graph does.

Numbers that Python passes are kept as they were; every operation reads and writes the tensors that
it did when it was recorded.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from img2img.training.graph import Graphs, Recording


def tensors(values) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


class Tape(TorchDispatchMode):
    """Keeps the operations, and what the tensors were that they changed."""

    def __init__(self):
        super().__init__()
        self.operations, self.before, self.made = [], {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        changed = []
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        for number, argument in enumerate(func._schema.arguments):
            if argument.alias_info and argument.alias_info.is_write:
                given = args[number] if number < len(args) else kwargs.get(argument.name)
                changed += tensors(given)
        for tensor in changed:
            place = tensor.untyped_storage().data_ptr()
            if place not in self.made and place not in self.before:
                self.before[place] = tensor, tensor.detach().clone()
        result = func(*args, **kwargs)
        places = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        new = [t for t in tensors(result) if t.untyped_storage().data_ptr() not in places]
        self.made |= {tensor.untyped_storage().data_ptr() for tensor in new}
        # The last field keeps the storages alive, so that no other gets their addresses.
        self.operations.append((func, args, kwargs, bool(changed), new, result))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """A GPU does nothing while it is recorded."""
        for tensor, before in self.before.values():
            tensor.copy_(before)

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, changes, new, old in self.operations:
            if changes:
                func(*args, **kwargs)
            elif new:
                result = tensors(func(*args, **kwargs))
                for kept, value in zip(tensors(old), result, strict=True):
                    if any(kept is tensor for tensor in new):
                        kept.copy_(value)


class OperationsRecording(Recording):
    def begin(self) -> None:
        self.random = torch.get_rng_state()
        self.tape = Tape()
        self.tape.__enter__()

    def end(self):
        self.tape.__exit__(None, None, None)
        self.tape.undo()
        torch.set_rng_state(self.random)
        return self.tape.repeat


class RecordedOnCpu(Graphs):
    def new_recording(self) -> Recording:
        return OperationsRecording()
