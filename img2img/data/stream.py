"""The order of training samples, a pure function of seed and position, so that it can resume."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from img2img.data.augment import Augment
from img2img.data.dataset import Dataset as PictureDataset

SHUFFLE, AUGMENT = 1, 2  # separate the random numbers of the two uses
Batch = dict[str, torch.Tensor]
# A message costs the main process half a millisecond whatever its size (torch sends each tensor as
# a file descriptor), and a megabyte of it about as much as that: from some megabytes on, larger
# messages gain little.
MESSAGE = 4 * 2**20  # bytes, unless a single step has more
WAITING = 32 * 2**20  # bytes of the messages of all workers: half of a container's usual /dev/shm
STEPS = 16  # in a message, at most: the first step, and sometimes Ctrl-C, waits for a whole one
# Bytes of a folder's name: multiprocessing makes /pymp-12345678/listener-12345678 in it, a socket,
# whose name has less than 104.
LONGEST_SCRATCH = 70
AHEAD = 4  # steps that each worker makes in advance, at least


class Stream(Dataset[Batch]):
    """An endless stream of samples, by position, that passes over the data set in epochs.

    Each epoch is another permutation. A sample, with its augmentation, depends only on the seed and
    the position, not on the worker that makes it. The sets of a data set take turns, batch by
    batch. Each of several ranks makes its share of every batch, and counts its own samples. Where
    the data are shards, a rank passes over the samples in its shards alone.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        augment: Augment,
        seed: int,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
    ):
        self.dataset = dataset.of_rank(rank, ranks)
        self.augment, self.seed, self.batch = augment, seed, batch
        self.share = batch // ranks
        self.first = rank * self.share  # index in each batch at which this rank's share begins
        # The rank, if it passes over samples that no other rank has, in an order of its own.
        self.alone = None if self.dataset is dataset else rank

    @property
    def step_bytes(self) -> int:
        """About the size of the pictures of a step: as if each sample had an a and a b."""
        size = self.augment.size
        return self.share * size.width * size.height * sum(self.dataset.channels)

    def __getitem__(self, position: int) -> Batch:
        step, place = divmod(position, self.share)
        place += self.first
        turn, number = divmod(step, len(self.dataset.parts))
        part = self.dataset.parts[number]
        passed = turn * self.batch + place
        if self.alone is not None:
            passed = turn * self.share + place - self.first
        epoch, offset = divmod(passed, len(part))
        index = part[_permutation(self.seed, epoch, len(part), self.alone)[offset]]
        random = np.random.default_rng((self.seed, AUGMENT, step * self.batch + place))
        sample = self.dataset.finished(self.dataset.sample(index, self.augment, random))
        return {name: torch.from_numpy(array) for name, array in sample.items()}


def messages(
    stream: Stream, start: int, stop: int, workers: int, pin: bool, scratch: Path | None = None
) -> DataLoader[Batch]:
    """The batches of steps start to stop - 1, for `split`: pictures uint8 [steps * N, H, W, C] and
    labels, by name.

    workers: number of processes that decode; each sends the batches of several steps at once. pin:
    use pinned memory, for copies to a GPU. scratch: the folder for the workers' temporary files, by
    default TMPDIR, where they would stay if a worker was killed.
    """
    steps = steps_in_message(stream.step_bytes, workers)
    return DataLoader(
        stream,
        batch_size=steps * stream.share,
        sampler=range(start * stream.share, stop * stream.share),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=partial(_start_worker, scratch),
        prefetch_factor=max(1, AHEAD // steps) if workers else None,
    )


def steps_in_message(step_bytes: int, workers: int) -> int:
    """The number of steps whose batches a worker makes at a time; 1 without workers, since then
    training would wait for them.
    """
    if not workers:
        return 1
    return max(1, min(STEPS, min(MESSAGE, WAITING // workers) // step_bytes))


def split(message: Batch, share: int) -> Iterator[Batch]:
    """The batches of N = `share` samples in a message, as views of it."""
    parts = zip(*(torch.split(tensor, share) for tensor in message.values()), strict=True)
    return (dict(zip(message, part, strict=True)) for part in parts)


def fixed_batch(dataset: PictureDataset, augment: Augment, indices: list[int]) -> Batch:
    """A batch of the samples at these indices, always augmented in the same way."""
    samples = [
        dataset.finished(dataset.sample(i, augment, np.random.default_rng(i))) for i in indices
    ]
    return {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int, rank: int | None = None) -> np.ndarray:
    """rank: of an order that no other rank has."""
    key = (seed, SHUFFLE, epoch) if rank is None else (seed, SHUFFLE, epoch, rank + 1)
    return np.random.default_rng(key).permutation(length)


def _start_worker(scratch: Path | None, worker: int) -> None:
    """Ignore signals, which terminals and supervisors send to all processes: the main one handles
    them. scratch: see `messages`.
    """
    if scratch and len(os.fsencode(scratch)) <= LONGEST_SCRATCH:
        tempfile.tempdir = str(scratch)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_main, daemon=True).start()
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def _end_with_main() -> None:
    """Exit on SIGTERM from the main process, which exits itself and waits for this worker."""
    process = multiprocessing.parent_process()  # with a fork server, getppid() is another process
    main = process.pid if process else os.getppid()
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != main:
        pass
    os._exit(0)
