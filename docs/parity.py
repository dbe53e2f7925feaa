"""Hold this application against what the authors' code computed, and write docs/parity.md.

    python docs/parity.py

The authors' numbers lie in tests/data/golden (see its README). Ours come from the networks, the
methods and the training step that `img2img train` runs. The suite runs the same comparisons.
"""

import copy
import dataclasses
import datetime
import json
import lzma
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file
from torch import Tensor, nn

from img2img.methods import METHODS
from img2img.methods.cut import CUTDraws
from img2img.methods.stargan import StarGANDraws
from img2img.methods.step import Batch, Draws
from img2img.nets.patchgan import PatchGAN, PixelGAN
from img2img.nets.resnet import ResNet
from img2img.nets.unet import UNet
from img2img.training.runtime import Runtime
from img2img.training.schedule import Schedule
from img2img.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden"
ONE_EPOCH = 10**9  # the rate stays constant, as in the authors' ten steps
Batches = Callable[[int], tuple[Batch, Draws | None]]  # of a step; None: its own draws


@dataclass(frozen=True)
class Row:
    """Of many values of one quantity, the one where ours is furthest from the authors'."""

    quantity: str
    authors: float
    ours: float
    difference: float
    allowed: float


def worst(
    quantity: str, pairs: Iterable[tuple[float, float]], allowed: float, scale: float = 0.0
) -> Row:
    """pairs: (the authors' value, ours). Differences are relative to the authors' value, or to
    `scale` where that is larger.
    """
    rows = (
        Row(quantity, theirs, ours, abs(theirs - ours) / max(abs(theirs), scale), allowed)
        for theirs, ours in pairs
    )
    return max(rows, key=lambda row: row.difference)


def pictures(quantity: str, theirs: Tensor, ours: Tensor, allowed: float) -> Row:
    """Pixels in [-1, 1], by absolute difference."""
    pairs = zip(theirs.double().flatten().tolist(), ours.flatten().tolist(), strict=True)
    theirs, ours = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    return Row(quantity, theirs, ours, abs(theirs - ours), allowed)


def make_trainer(mode: str, files: dict[str, Path], **settings) -> Trainer:
    """In float64; files: our network, "generators.ab" -> the published state dict."""
    method = METHODS[mode](METHODS[mode].Config(**settings)).double()
    for name, path in files.items():
        part = method.get_submodule(name)
        state = torch.load(path, weights_only=True)
        # StarGAN's files carry running statistics that nothing reads.
        part.load_state_dict({k: v for k, v in state.items() if k in part.state_dict()})
    return Trainer(method, Runtime("cpu", "fp32"), 0, Schedule.of(method.config, ONE_EPOCH))


def trained(
    trainer: Trainer,
    batch: Batches,
    folder: Path,
    named: dict[str, Callable[[dict[str, float]], float]],
    parts: dict[str, str],
    drift: float,
    least: float = 0.0,
    rounding: tuple[str, ...] = (),
) -> Iterator[Row]:
    """Ten steps: losses in float64 and in float32, then every tensor's sum and norm.

    named: the authors' loss -> a function of our terms; parts: their network -> ours; drift: what
    is allowed to float32 when it goes its own way; least: norms below it are compared as if they
    were it, for a bias before a norm holds nothing but rounding; rounding: such biases whose sums
    differ by as much as they are, and are compared as if they were 1.
    """
    losses = json.loads((folder / "trajectory.json").read_text())["losses"]
    guided, free = as_float32(trainer), as_float32(trainer)
    wide, each, own = [], [], []
    complete = next(n for n, at in enumerate(losses, 1) if len(at) == len(named))
    for step in range(len(losses)):
        if step < max(3, complete):
            data, draws = batch(step)
            data = narrow(data)
            if draws is not None:
                draws = dataclasses.replace(draws, **narrow(vars(draws)))
            guided.load_state_dict(copy.deepcopy(trainer.state_dict()))
            each.append(values(guided.update(data, draws)))
            own.append(values(free.update(data, draws)))
        wide.append(values(trainer.update(*batch(step))))
    runs = {
        "float64": (wide, 1e-6),
        "float32, each step from the state in float64": (each, 1e-4),
        "float32, going its own way": (own, drift),
    }
    for how, (ours, allowed) in runs.items():
        for loss, term in named.items():
            pairs = [(at[loss], term(o)) for at, o in zip(losses, ours, strict=False) if loss in at]
            yield worst(f"loss {loss}, {len(pairs)} steps in {how}", pairs, allowed)
    norms = json.loads((folder / "after10_norms.json").read_text())
    for part, name in parts.items():
        state = trainer.method.get_submodule(name).state_dict()
        known = {k: v for k, v in norms[part].items() if k in state and "num_batches" not in k}
        pairs = [(norm, state[key].norm().item()) for key, (_, norm) in known.items()]
        yield worst(f"norm of a tensor of {part}, {len(pairs)} tensors", pairs, 1e-6, least)
        sums = (
            worst(
                f"sum of a tensor of {part}",
                [(total, state[key].sum().item())],
                1e-6,
                max(norm, 1.0 if key in rounding else least),
            )
            for key, (total, norm) in known.items()
        )
        yield max(sums, key=lambda row: row.difference)


def any_draws(trainer: Trainer, batch: Batch) -> Draws:
    """Draws for a scene that does not depend on them."""
    return trainer.method.draws(batch, trainer.progress, 1.0)


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def narrow(values: dict[str, Any]) -> dict[str, Any]:
    """The values with every tensor in float32."""
    return {
        k: v.float() if isinstance(v, Tensor) and v.is_floating_point() else v
        for k, v in values.items()
    }


def as_float32(trainer: Trainer) -> Trainer:
    narrow = copy.deepcopy(trainer)
    narrow.method.float()
    return narrow


def cyclegan() -> Iterator[Row]:
    folder = GOLDEN / "cyclegan"
    parts = {
        "G_A": "generators.ab",
        "G_B": "generators.ba",
        "D_A": "discriminators.b",
        "D_B": "discriminators.a",
    }
    files = {ours: folder / f"init_net_{theirs}.pth" for theirs, ours in parts.items()}
    trainer = make_trainer("cyclegan", files, size=64, width=8, d_width=8, blocks=6, pool=0)
    data = load_file(folder / "batches.safetensors")

    def batch(step: int) -> tuple[Batch, None]:
        return {k: data[k.upper()][step : step + 1].double() for k in "ab"}, None

    golden, (first, _) = load_file(folder / "step1_images.safetensors"), batch(0)
    scene = trainer.method.scene(first, any_draws(trainer, first))
    images = {name: image.detach() for name, image in scene.items()}
    names = {"fake_B": "fake_b", "fake_A": "fake_a", "rec_A": "cycle_a", "rec_B": "cycle_b"}
    for theirs, ours in (names | {"idt_A": "same_b", "idt_B": "same_a"}).items():
        yield pictures(f"image {theirs} of step 1", golden[theirs], images[ours], 1e-6)
    named = {
        "G_A": lambda t: t["g/adversarial_ab"],
        "G_B": lambda t: t["g/adversarial_ba"],
        "cycle_A": lambda t: t["g/cycle_a"],
        "cycle_B": lambda t: t["g/cycle_b"],
        "idt_A": lambda t: t["g/identity_b"],
        "idt_B": lambda t: t["g/identity_a"],
        "D_A": lambda t: t["d/real_b"] + t["d/fake_b"],
        "D_B": lambda t: t["d/real_a"] + t["d/fake_a"],
    }
    yield from trained(trainer, batch, folder, named, parts, drift=1e-2)


def pix2pix() -> Iterator[Row]:
    folder = GOLDEN / "pix2pix"
    parts = {"G": "generators.ab", "D": "discriminators.b"}
    files = {ours: folder / f"init_net_{theirs}.pth" for theirs, ours in parts.items()}
    with lzma.open(folder / "batches.safetensors.xz") as file:
        data = load(file.read())

    trainer = make_trainer("pix2pix", files, width=4, d_width=8, dropout=False)

    def batch(step: int) -> tuple[Batch, None]:
        return {k: data[k.upper()][step : step + 1].double() for k in "ab"}, None

    with torch.no_grad():  # by a copy, whose BatchNorm averages may move
        first, _ = batch(0)
        fake = copy.deepcopy(trainer.method).scene(first, any_draws(trainer, first))["fake_b"]
    golden = load_file(folder / "step1_images.safetensors")
    yield pictures("image fake_B of step 1", golden["fake_B"], fake, 1e-6)
    named = {
        "G_GAN": lambda t: t["g/adversarial"],
        "G_L1": lambda t: t["g/l1"],
        "D_real": lambda t: 2 * t["d/real"],  # theirs is written down before halving
        "D_fake": lambda t: 2 * t["d/fake"],
    }
    yield from trained(trainer, batch, folder, named, parts, drift=1e-3)


def stargan(name: str, kind: str) -> Iterator[Row]:
    folder = GOLDEN / "stargan" / name
    parts = {"G": "generators.any", "D": "discriminators.all"}
    files = {ours: folder / f"init-{theirs}.ckpt" for theirs, ours in parts.items()}
    sizes = {"size": 64, "width": 8, "d_width": 8, "blocks": 2, "d_layers": 4, "batch": 4}
    labels = {"sets": [{"kind": kind, "domains": tuple("abcde")}]}
    trainer = make_trainer("stargan", files, **sizes, labels=labels)
    data = load_file(folder / "batches.safetensors")

    def batch(step: int) -> tuple[Batch, Draws]:
        label = data["labels"][step]
        label = (torch.eye(5)[label] if kind == "classes" else label).double()
        draws = StarGANDraws(
            mix=data["alpha"][step].double(),
            progress=torch.tensor(0.0),
            penalty_scale=1.0,
            target=label[data["permutation"][step]],
        )
        return {"image": data["images"][step].double(), "domain": label}, draws

    named = {
        "D/loss_real": lambda t: t["d/real"],
        "D/loss_fake": lambda t: t["d/fake"],
        "D/loss_cls": lambda t: t["d/classification"],
        "D/loss_gp": lambda t: t["d/gradient_penalty"] / 10,  # theirs without the weight
        "G/loss_fake": lambda t: t["g/adversarial"],
        "G/loss_rec": lambda t: t["g/reconstruction"] / 10,
        "G/loss_cls": lambda t: t["g/classification"],
    }
    yield from trained(trainer, batch, folder, named, parts, drift=1e-4)


def cut(name: str, **settings: Any) -> Iterator[Row]:
    folder = GOLDEN / name
    parts = {"G": "generators.ab", "F": "heads.ab", "D": "discriminators.b"}
    files = {ours: folder / f"init_net_{theirs}.pth" for theirs, ours in parts.items()}
    sizes = {"size": 32, "batch": 2, "width": 8, "d_width": 8, "blocks": 6}
    patches = {"nce_patches": 24, "nce_width": 32}
    trainer = make_trainer("cut", files, **sizes, **patches, **settings)
    data = load_file(folder / "batches.safetensors")
    drawn = json.loads((folder / "trajectory.json").read_text())

    def batch(step: int) -> tuple[Batch, Draws]:
        uses = [tuple(map(torch.tensor, layers)) for layers in drawn["places"][step]]
        draws = CUTDraws(
            mix=torch.zeros(2, 1, 1, 1),
            progress=torch.tensor(0.0),
            penalty_scale=1.0,
            places=(uses[0], uses[-1]),
            flipped=torch.tensor(drawn["flipped"][step]),
        )
        return {k: data[k][step].double() for k in "ab"}, draws

    golden = load_file(folder / "step1_images.safetensors")
    scene = trainer.method.scene(*batch(0))
    for theirs, ours in {"fake_B": "fake_b", "idt_B": "same_b"}.items():
        if theirs in golden:
            yield pictures(f"image {theirs} of step 1", golden[theirs], scene[ours].detach(), 1e-6)
    share = 0.5 if "NCE_Y" in drawn["losses"][0] else 1.0
    named = {
        "G_GAN": lambda t: t["g/adversarial"],
        "NCE": lambda t: t["g/nce"] / share,  # theirs is written down before halving, as D's are
        "NCE_Y": lambda t: t["g/nce_identity"] / share,
        "G": lambda t: sum(value for name, value in t.items() if name.startswith("g/")),
        "D_real": lambda t: 2 * t["d/real"],
        "D_fake": lambda t: 2 * t["d/fake"],
    }
    named = {loss: named[loss] for loss in drawn["losses"][0]}
    # In float32 small losses of the discriminator part sooner: its pictures are 32 px wide.
    # The first bias stands before a norm: its norm is 1e-7 in theirs and in ours after ten steps.
    first = ("model.1.bias",)
    yield from trained(trainer, batch, folder, named, parts, 0.1, least=0.1, rounding=first)


NETS: dict[str, Callable[[], nn.Module]] = {
    "patchgan_n3_instance_ndf8": lambda: PatchGAN(3, 8, 3, "instance"),
    "patchgan_n5_batch_ndf4_in6": lambda: PatchGAN(6, 4, 5, "batch"),
    "pixelgan_batch_ndf8": lambda: PixelGAN(3, 8, "batch"),
    "resnet_6blocks_batch_ngf8": lambda: ResNet(3, 3, 8, 6, "batch"),
    "resnet_9blocks_instance_ngf8": lambda: ResNet(3, 3, 8, 9),
    "unet_128_batch_ngf4": lambda: UNet(3, 3, 4, 7, "batch", dropout=False),
    "unet_128_instance_ngf4": lambda: UNet(3, 3, 4, 7, "instance", dropout=False),
}


def network(name: str) -> Iterator[Row]:
    golden = load_file(GOLDEN / "nets" / f"{name}.io.safetensors")
    for mode in ("train", "eval"):
        net = NETS[name]()
        net.load_state_dict(torch.load(GOLDEN / "nets" / f"{name}.pth", weights_only=True))
        with torch.no_grad():
            output = net.train(mode == "train")(golden["input"].float())
        yield pictures(f"output in {mode} mode", golden[f"output_{mode}_mode"], output, 1e-5)


def schedule() -> Iterator[Row]:
    golden = json.loads((GOLDEN / "linear_schedule.json").read_text())
    config = METHODS["cyclegan"].Config(epochs=200)
    factor = Schedule.of(config, epoch_steps=7).rate_factor
    rates = golden["lr_at_epoch_1_to_200"]
    pairs = [
        (rate, config.generator_lr * factor(epoch * 7 + step))
        for epoch, rate in enumerate(rates)
        for step in (0, 6)  # the first and the last of an epoch of 7
    ]
    yield worst(f"rate, {len(rates)} epochs", pairs, 1e-12)


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "pix2pix": pix2pix,
    "CycleGAN": cyclegan,
    "StarGAN on classes": lambda: stargan("rafd", "classes"),
    "StarGAN on attributes": lambda: stargan("celeba", "attributes"),
    "CUT": lambda: cut("cut"),
    "FastCUT": lambda: cut("fastcut", **METHODS["cut"].presets["fastcut"]),
    **{f"network {name}": lambda name=name: network(name) for name in NETS},
    "learning rate": schedule,
}


def main() -> None:
    torch.manual_seed(0)
    lines = []
    for case, compare in CASES.items():
        for row in compare():
            values = (
                f"{row.authors:.9g} | {row.ours:.9g} | {row.difference:.1e} | {row.allowed:.0e}"
            )
            lines.append(f"| {case} | {row.quantity} | {values} |")
            print(lines[-1])
            if not row.difference <= row.allowed:
                raise SystemExit("This is further from the authors' value than allowed.")
    when, machine = datetime.date.today(), f"{platform.system()} {platform.machine()}"
    table = "\n".join(lines)
    (ROOT / "docs" / "parity.md").write_text(f"""# Parity with the authors' code

Made by `python docs/parity.py` on {when} with torch {torch.__version__} on the CPU of a {machine}
machine. The authors' values were computed by their published code
([how](../tests/data/golden/README.md)); ours by the networks, methods and training step that
`img2img train` runs, from the same weights, batches and random draws. A line gives, of all values
of a quantity (ten optimiser steps, or a network's tensors or pixels), the one where ours is
furthest off. Differences are relative; those of pixels, in [-1, 1], are absolute, and those of
sums relative to the tensor's norm. The suite fails where a difference exceeds what is allowed.

Trajectories are compared in float64. In float32 two runs part after a step or two even with the
same code, if their convolutions round otherwise: Adam turns a gradient that is rounding noise (of a
bias before a norm, for one) into a full step. So float32 is compared twice: each of the first steps
taken from the state of the float64 run, and, with more room, three steps going their own way (five
for StarGAN, whose generator moves in the fifth).

| case | quantity | authors | ours | difference | allowed |
|---|---|---|---|---|---|
{table}
""")


if __name__ == "__main__":
    main()
