"""Our training step against the textbook's, in turn in one run.

    python benchmarks/train_step.py [--sizes 128 256] [--batches 1 8] [--modes cyclegan] [--json]
    python benchmarks/train_step.py --write    # results and the table of docs/performance.md;
                                               # a part of it replaces that part

The textbook step is written out below as the authors' code does it: fp32, every picture through its
network in a call of its own, separate passes for real and fake, torch's default Adam. Both train
the same networks from the same weights on the same pictures; the ratio in one run is what counts.
"""

import argparse
import datetime
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import machine
import page
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.manifest import Labels
from img2img.methods import METHODS
from img2img.methods.base import Method
from img2img.methods.step import Batch
from img2img.training.config import Precision
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
DOMAINS = Labels(sets=[{"kind": "classes", "domains": tuple("abcde")}])
Step = Callable[[], object]


def adam(module: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), 2e-4, betas=(0.5, 0.999))


def descend(optimizer: torch.optim.Adam, *losses: Tensor) -> None:
    optimizer.zero_grad()
    for loss in losses:
        loss.backward()
    optimizer.step()


def pix2pix_step(method: Method, batch: dict[str, Tensor]) -> Step:
    g, d = method.generators["ab"], method.discriminators["b"]
    optimizer_g, optimizer_d = adam(g), adam(d)
    a, b = batch["a"], batch["b"]

    def bce(logits: Tensor, real: bool) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def step() -> None:
        fake = g(a)
        d.requires_grad_(True)
        on_fake = bce(d(torch.cat([a, fake.detach()], 1)), False)
        on_real = bce(d(torch.cat([a, b], 1)), True)
        descend(optimizer_d, (on_fake + on_real) * 0.5)
        d.requires_grad_(False)
        descend(optimizer_g, bce(d(torch.cat([a, fake], 1)), True) + 100 * F.l1_loss(fake, b))

    return step


class Pool:
    """CycleGAN's 50 past fakes."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes:
            if len(self.images) < 50:
                self.images.append(fake)
                shown.append(fake)
            elif random.random() > 0.5:
                index = random.randrange(50)
                shown.append(self.images[index].clone())
                self.images[index] = fake
            else:
                shown.append(fake)
        return torch.stack(shown)


def cyclegan_step(method: Method, batch: dict[str, Tensor]) -> Step:
    ab, ba = method.generators.values()
    optimizer_g, optimizer_d = adam(method.generators), adam(method.discriminators)
    a, b = batch["a"], batch["b"]
    judges, pools = method.discriminators, {"a": Pool(), "b": Pool()}

    def squared(scores: Tensor, real: bool) -> Tensor:
        return F.mse_loss(scores, torch.full_like(scores, float(real)))

    def step() -> None:
        fake_b = ab(a)
        cycle_a = ba(fake_b)
        fake_a = ba(b)
        cycle_b = ab(fake_a)
        judges.requires_grad_(False)
        same_b, same_a = ab(b), ba(a)
        loss = 5 * F.l1_loss(same_b, b) + 5 * F.l1_loss(same_a, a)
        loss = loss + squared(judges["b"](fake_b), True) + squared(judges["a"](fake_a), True)
        loss = loss + 10 * F.l1_loss(cycle_a, a) + 10 * F.l1_loss(cycle_b, b)
        descend(optimizer_g, loss)
        judges.requires_grad_(True)
        losses = []
        for name, real, fake in (("a", a, fake_a), ("b", b, fake_b)):
            shown = pools[name].query(fake.detach())
            on_real, on_fake = judges[name](real), judges[name](shown)
            losses.append((squared(on_real, True) + squared(on_fake, False)) * 0.5)
        descend(optimizer_d, *losses)

    return step


def stargan_step(method: Method, batch: dict[str, Tensor]) -> Step:
    """A discriminator step, and in every fifth a generator step."""
    g, d = method.generators["any"], method.discriminators["all"]
    optimizer_g, optimizer_d = adam(g), adam(d)
    image, label = batch["image"], batch["domain"]
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        target = label[torch.randperm(len(label))]
        real, classes = d(image)
        fake = g(image, target)
        judged, _ = d(fake.detach())
        mix = torch.rand(len(image), 1, 1, 1, device=image.device)
        between = (mix * image + (1 - mix) * fake.detach()).requires_grad_(True)
        score, _ = d(between)
        [slope] = torch.autograd.grad(score.sum(), between, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        named = F.cross_entropy(classes, label.argmax(1))
        descend(optimizer_d, -real.mean() + judged.mean() + named + 10 * penalty)
        if done % 5 == 0:
            fake = g(image, target)
            judged, classes = d(fake)
            back = F.l1_loss(g(fake, label), image)
            named = F.cross_entropy(classes, target.argmax(1))
            descend(optimizer_g, -judged.mean() + named + 10 * back)

    return step


TEXTBOOK = {"pix2pix": pix2pix_step, "cyclegan": cyclegan_step, "stargan": stargan_step}


def begin(
    mode: str, size: int, batch: int, settings: dict | None = None
) -> tuple[Method, dict[str, Tensor]]:
    """The method, and a batch of uint8 pictures; the same ones whenever it is asked."""
    torch.manual_seed(0)
    settings = {**(settings or {}), **({"labels": DOMAINS} if mode == "stargan" else {})}
    settings |= {} if size >= 64 else {"d_layers": 2}  # to try a script out
    method = METHODS[mode](METHODS[mode].Config(size=size, batch=batch, **settings))
    pictures = torch.randint(0, 256, (2, batch, size, size, 3), dtype=torch.uint8)
    names = ("image",) if mode == "stargan" else ("a", "b")
    raw = dict(zip(names, pictures, strict=False))
    if mode == "stargan":
        raw["domain"] = torch.eye(5)[torch.arange(batch) % 5]
    return method, raw


def textbook(mode: str, size: int, batch: int, device: str) -> Step:
    method, raw = begin(mode, size, batch)
    return TEXTBOOK[mode](method.to(device), Runtime(device, "fp32").place(raw))


def training(
    mode: str,
    size: int,
    batch: int,
    device: str,
    settings: dict | None = None,
    precision: Precision = "auto",
    other_layout: bool = False,
    deterministic: bool = False,
) -> tuple[Trainer, Batch]:
    """Our trainer, and a batch on the device. other_layout: of pictures, than the method's."""
    method, raw = begin(mode, size, batch, settings)
    last = method.channels_last != other_layout
    schedule = Schedule.of(method.config, epoch_steps=1000)
    runtime = Runtime(device, precision, channels_last=last, deterministic=deterministic)
    trainer = Trainer(method, runtime, 0, schedule)
    return trainer, runtime.place(raw)


def ours(
    mode: str,
    size: int,
    batch: int,
    device: str,
    compiled: bool = False,
    graph: bool = False,
    other_layout: bool = False,
    precision: Precision = "auto",
) -> Step:
    """Our step."""
    trainer, placed = training(
        mode, size, batch, device, precision=precision, other_layout=other_layout
    )
    if compiled:
        trainer.compile()
    if graph and device != "cpu":
        trainer.record(print)
    return lambda: trainer.update(placed)


def each(mode: str, size: int, batch: int, device: str) -> dict[str, Step]:
    """The textbook's step and ours in each precision, with networks of the same weights."""
    return {
        "textbook": textbook(mode, size, batch, device),
        "fp32": ours(mode, size, batch, device, precision="fp32"),
        "bf16": ours(mode, size, batch, device, precision="bf16"),
    }


def seconds(steps: dict[str, Step], turn: int, rounds: int, device: str) -> dict[str, float]:
    """Median seconds of a step. A round is a turn's steps of the one, then of the other.

    On a CPU they are seconds of its processor time, which other programs hardly change.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):  # the first one only warms up
        for name, step in steps.items():
            began = clock()
            for _ in range(turn):
                step()
            if device != "cpu":
                torch.cuda.synchronize()
            times[name].append((clock() - began) / turn)
    return {name: statistics.median(measured[1:]) for name, measured in times.items()}


def table(result: dict) -> str:
    lines = [
        "| | size | batch | textbook | img2img fp32 | img2img bf16 |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["steps"]:
        plain = row["textbook"]
        ours = [f"{row[name]:.3f} s, {plain / row[name]:.2f}x" for name in ("fp32", "bf16")]
        case = f"{row['mode']} | {row['size']} | {row['batch']}"
        lines.append(f"| {case} | {plain:.3f} s | {' | '.join(ours)} |")
    source = f"{result['machine']}; torch {result['torch']}; {result['date']}"
    return "\n".join([*lines, "", f"{source}; `benchmarks/train_step.py`."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", default=list(TEXTBOOK), choices=list(TEXTBOOK))
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.device == "cpu":
        torch.set_num_threads(1)  # others would spin while they wait for one another
    rows = []
    for mode in given.modes:
        for size in given.sizes:
            for batch in given.batches:
                batch = max(batch, 2) if mode == "stargan" else batch  # it permutes labels
                steps = each(mode, size, batch, given.device)
                turn = 5 if mode == "stargan" else 1
                measured = seconds(steps, turn, given.rounds, given.device)
                rows.append({"mode": mode, "size": size, "batch": batch, **measured})
                if not given.json:
                    ratios = [measured["textbook"] / measured[name] for name in ("fp32", "bf16")]
                    faster = "fp32 {:.2f}x, bf16 {:.2f}x".format(*ratios)
                    print(f"{mode} {size} px, batch {batch}: {faster}", flush=True)
    described = machine.describe(torch.get_num_threads())
    if given.device != "cpu":
        described = torch.cuda.get_device_name()
    result = {
        "machine": described,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "steps": rows,
    }
    if given.write:
        name = f"train-step-{given.device.partition(':')[0]}"
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        before = json.loads(path.read_text())["steps"] if path.exists() else []
        known = {(row["mode"], row["size"], row["batch"]): row for row in before + rows}
        result["steps"] = [known[key] for key in sorted(known)]
        path.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, name, table(result))
    print(json.dumps(result, indent=2) if given.json else table(result))


if __name__ == "__main__":
    main()
