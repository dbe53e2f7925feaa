"""The order of training samples, a pure function of seed and position, so that it can resume."""

import multiprocessing
import os
import signal
import sys
import threading
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from img2img.data.augment import Augment
from img2img.data.dataset import Dataset as PictureDataset

SHUFFLE, AUGMENT = 1, 2  # separate the random numbers of the two uses


class Stream(Dataset[dict[str, torch.Tensor]]):
    """An endless stream of samples, by position, that passes over the data set in epochs.

    Each epoch is another permutation. A sample, with its augmentation, depends only on the seed and
    the position, not on the worker that makes it. The sets of a data set take turns, batch by
    batch. Each of several ranks makes its share of every batch, and counts its own samples.
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
        self.dataset, self.augment, self.seed, self.batch = dataset, augment, seed, batch
        self.share = batch // ranks
        self.first = rank * self.share  # index in each batch at which this rank's share begins

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        step, place = divmod(position, self.share)
        place += self.first
        turn, number = divmod(step, len(self.dataset.parts))
        part = self.dataset.parts[number]
        epoch, offset = divmod(turn * self.batch + place, len(part))
        index = part[_permutation(self.seed, epoch, len(part))[offset]]
        random = np.random.default_rng((self.seed, AUGMENT, step * self.batch + place))
        sample = self.dataset.sample(index, self.augment, random)
        return {name: torch.from_numpy(array) for name, array in sample.items()}


def batches(
    stream: Stream, start: int, stop: int, workers: int, pin: bool
) -> DataLoader[dict[str, torch.Tensor]]:
    """The batches of steps start to stop - 1: pictures uint8 [N, H, W, C] and labels, by name.

    workers: number of processes that decode. pin: use pinned memory, for copies to a GPU.
    """
    return DataLoader(
        stream,
        batch_size=stream.share,
        sampler=range(start * stream.share, stop * stream.share),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
    )


def fixed_batch(
    dataset: PictureDataset, augment: Augment, indices: list[int]
) -> dict[str, torch.Tensor]:
    """A batch of the samples at these indices, always augmented in the same way."""
    samples = [dataset.sample(i, augment, np.random.default_rng(i)) for i in indices]
    return {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, SHUFFLE, epoch)).permutation(length)


def _start_worker(worker: int) -> None:
    """Ignore signals, which terminals and supervisors send to all processes: the main one handles
    them.
    """
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
