"""Steps that are recorded as CUDA graphs: a GPU repeats them without waiting for Python."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from torch import Tensor

from img2img.training.accumulate import Part, Terms

# Steps of a kind that are computed as usual before one is recorded: libraries choose algorithms and
# reserve memory in them, compiled networks are compiled, and optimizers create their state.
WARM_UP = 3

Act = Callable[[], None]
Turns = Callable[[list[Part]], Terms]


class Recording(ABC):
    """What a device did in a step, in pieces, between which the host acts."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    @abstractmethod
    def begin(self) -> None:
        """From now on, record what the device is given instead of doing it."""

    @abstractmethod
    def end(self) -> Act:
        """End what `begin` began. Returns what repeats it."""

    def outside(self, act: Act) -> None:
        """Have the host act at this place whenever the step is repeated."""
        self.acts += [self.end(), act]
        self.begin()

    def record(self, compute: Callable[[], Tensor]) -> Tensor:
        """Record what `compute` does. Its result has a value once the recording is repeated."""
        self.begin()
        try:
            result = compute()
        except BaseException:
            with suppress(RuntimeError):  # of a recording that is not valid
                self.end()
            raise
        self.acts.append(self.end())
        return result

    def repeat(self) -> None:
        for act in self.acts:
            act()


class CudaRecording(Recording):
    """CUDA graphs."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream, pool: Any):
        """stream: where it is recorded. pool: memory of recordings that take turns."""
        super().__init__()
        self.device, self.stream, self.pool = device, stream, pool

    def begin(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, such as the one that pins batches, may go on using the device.
        self.capture = torch.cuda.graph(
            self.graph, self.pool, self.stream, capture_error_mode="thread_local"
        )
        self.capture.__enter__()

    def end(self) -> Act:
        try:
            self.capture.__exit__(None, None, None)
        except RuntimeError:
            # The generator of random numbers would still wait for the end of the recording.
            generator = torch.cuda.default_generators[self.device.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise
        return self.graph.replay


@dataclass
class Kind:
    """Steps that do the same to tensors of the same shapes."""

    done: int = 0  # plain steps
    recording: Recording | None = None
    inputs: list[Tensor] = field(default_factory=list)  # what the recording reads
    names: tuple[str, ...] = ()  # of the terms
    terms: Tensor = field(default_factory=lambda: torch.empty(0))  # [T], what it writes


class Graphs(ABC):
    """The recordings of a run, one for each kind of step.

    The first steps of a kind are computed plainly. Then one is recorded, and this and all later
    ones repeat the recording. Random layers draw the same numbers either way, since the generators
    are seeded before each step.
    """

    def __init__(self, say: Callable[[str], None]):
        """say: takes a message, if a step can't be recorded."""
        self.say, self.failed = say, False
        self.kinds: dict[Hashable, Kind] = {}
        self.active: Recording | None = None  # that is being made

    @abstractmethod
    def new_recording(self) -> Recording:
        """An empty recording."""

    def plainly(self, turns: Turns, parts: list[Part]) -> Terms:
        """The terms of a step that is not recorded."""
        return turns(parts)

    def run(self, what: Hashable, turns: Turns, parts: list[Part]) -> Terms:
        """The terms of `turns(parts)`, in which the networks learn.

        what: all that the turns depend on beside tensors and the parts.
        """
        inputs: list[Tensor] = []
        kind = self.kinds.setdefault((what, _shape(parts, inputs)), Kind())
        if not (self.failed or kind.recording) and kind.done >= WARM_UP:
            try:
                self._record(kind, turns, parts)
            except RuntimeError as error:
                self.failed = True
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self.say(f"Steps can't be recorded as CUDA graphs, and take longer: {reason}")
        if self.failed or not kind.recording:
            kind.done += 1
            return self.plainly(turns, parts)
        for kept, new in zip(kind.inputs, inputs, strict=True):
            kept.copy_(new)
        kind.recording.repeat()
        return dict(zip(kind.names, kind.terms.clone().unbind(), strict=True))

    def outside(self, act: Act) -> None:
        """Do what can't be recorded; while a step is recorded, have it done when it is repeated."""
        if self.active:
            self.active.outside(act)
        else:
            act()

    def _record(self, kind: Kind, turns: Turns, parts: list[Part]) -> None:
        kept, recording = copy.deepcopy(parts), self.new_recording()
        _shape(kept, kind.inputs)

        def compute() -> Tensor:
            terms = turns(kept)
            kind.names = tuple(terms)
            return torch.cat([term.reshape(1) for term in terms.values()])

        self.active = recording
        try:
            kind.terms = recording.record(compute)
        finally:
            self.active = None
        kind.recording = recording


class CudaGraphs(Graphs):
    """Recordings on a GPU."""

    def __init__(self, device: torch.device, say: Callable[[str], None]):
        super().__init__(say)
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def new_recording(self) -> Recording:
        return CudaRecording(self.device, self.stream, self.pool)

    def plainly(self, turns: Turns, parts: list[Part]) -> Terms:
        """On the stream of recordings, for which libraries reserve memory of its own."""
        outer = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outer)
        with torch.cuda.stream(self.stream):
            terms = turns(parts)
        outer.wait_stream(self.stream)
        return terms


def _shape(value: Any, tensors: list[Tensor]) -> Hashable:
    """What two values that differ only in the content of their tensors have in common. Appends the
    tensors to a list, in the same order for all such values.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return tuple(value.shape), value.dtype
    if is_dataclass(value):
        return type(value), _shape(vars(value), tensors)
    if isinstance(value, dict):
        return tuple((name, _shape(part, tensors)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(_shape(part, tensors) for part in value)
    assert isinstance(value, Hashable)
    return value
