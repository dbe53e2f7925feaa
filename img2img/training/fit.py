"""The largest batch that fits into memory, measured before a run starts (`--batch auto`)."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from img2img import memory
from img2img.data.stream import fixed_batch
from img2img.errors import Img2ImgError
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.plan import Plan, make_plan
from img2img.training.precision import settled
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule, steps_per_epoch
from img2img.training.trainer import Trainer

MEASURED = (2, 4)  # pictures; from the difference follows the memory for each further one
USED = 0.8  # of the memory; the rest is for looks, samples and fragmentation
MOST = 64  # pictures; GANs don't train better with larger batches


def fit_batch(plan: Plan, console: Console, ranks: Ranks) -> Plan:
    """The plan with the largest batch whose share fits into the memory of each process's device.

    Raises Img2ImgError if not even the smallest fits.
    """
    plan = replace(plan, config=settled(plan.config, ranks))
    at_once = ranks.from_first(_most(plan, ranks) if ranks.first else 0)
    parts = plan.config.method.accumulate * ranks.count
    batch = max(1, min(at_once, MOST, len(plan.training) // parts)) * parts
    console.print(f"A batch of {batch} fits.")
    config = plan.config.with_method(batch=batch)
    epoch_steps = steps_per_epoch(config.method, len(plan.training))
    return replace(plan, config=config, schedule=Schedule.of(config.method, epoch_steps))


def _most(plan: Plan, ranks: Ranks) -> int:
    """The largest number of pictures that fit at once."""
    few, more = MEASURED
    device = Runtime.of(plan.config, ranks).device
    config = plan.config.model_copy(update={"device": str(device)})
    low, high = (_peak(config, count) for count in MEASURED)
    if low is None:
        raise Img2ImgError(
            f"Not even {few} pictures fit into memory. Use a smaller --size, or --batch 1 with "
            "--recompute."
        )
    if high is None:
        return few
    if device.type == "cuda":
        available = float(torch.cuda.mem_get_info(device)[0])
    else:
        available = memory.available() / ranks.local_count
    each = max((high - low) / (more - few), 1)
    count = more + math.floor((USED * available - high) / each)
    # The memory of a GPU is not always linear in the batch: try it.
    while count > more and device.type == "cuda" and _peak(config, count) is None:
        count = count * 7 // 8
    return max(count, few)


def _peak(config: RunConfig, batch: int) -> int | None:
    """Peak memory of training with a batch, in bytes; None if it doesn't fit."""
    values = config.with_method(batch=batch, accumulate=1).model_dump(mode="json")
    # -P: modules in the current folder can't shadow others.
    line = [sys.executable, "-P", "-m", "img2img.training.fit"]
    sent = json.dumps(values)
    done = subprocess.run(line, input=sent, capture_output=True, text=True)  # noqa: S603, no shell
    if done.returncode == 0:
        return int(done.stdout)
    if done.returncode < 0 or "OutOfMemoryError" in done.stderr or "allocate" in done.stderr:
        return None  # the system killed it, or an allocation failed
    reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
    raise Img2ImgError(f"A step of training failed: {reason}")


def _measure(values: dict[str, Any]) -> int:
    """Train until each network has been updated twice. Returns the peak memory in bytes."""
    config = RunConfig.build(values)
    plan = make_plan(config, Console(quiet=True), decode=False)
    runtime, networks = Runtime.of(config), METHODS[config.mode](plan.config.method)
    trainer = Trainer(networks, runtime, 0, plan.schedule)
    chosen = [index % len(plan.training) for index in range(config.method.batch)]
    batch = runtime.place(fixed_batch(plan.training, plan.augment(training=True), chosen))
    with runtime.algorithms():
        for _ in range(2 * trainer.method.turn):
            trainer.update(batch)
    return runtime.peak_memory()


if __name__ == "__main__":
    print(_measure(json.load(sys.stdin)))
