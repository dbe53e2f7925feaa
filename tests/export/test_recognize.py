"""Generators of other repositories: recognized, whatever their layers' names, and run the same."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from families import (
    Functional,
    FunctionalUNet,
    NumberedUNet,
    Reflecting,
    ReflectingUNet,
    randomized,
    resnet,
)
from rich.console import Console
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from img2img import Translator, images
from img2img.cli import app
from img2img.errors import DataError, UsageError
from img2img.export.graph import load_run
from img2img.export.published import import_run
from img2img.export.recognize import Unrecognized, recognize
from img2img.export.run import export_run
from img2img.nets.norm import image_statistics
from img2img.nets.patchgan import PatchGAN
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator
from img2img.nets.unet import UNet
from img2img.training.checkpoint import begin_with


def affine(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


# What makes it, and a part of how it is read.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "the authors' ResNet": (resnet, "the ResNet of CycleGAN's authors: transposed"),
    "Lornatang": (lambda: resnet("main", "res"), "the ResNet of CycleGAN's authors"),
    "BatchNorm": (lambda: resnet(norm=nn.BatchNorm2d), "BatchNorm"),
    "affine norms": (lambda: resnet("net", "layers", norm=affine), "instance norm with weights"),
    "PyTorch-GAN": (
        lambda: resnet(block="block", ups="nearest"),
        "PyTorch-GAN's CycleGAN: nearest upsampling, reflection padding",
    ),
    "zero padding": (
        lambda: resnet("main", "main", zeros=True),
        r"a ResNet like CycleGAN's: .* zeros at the border \(assumed",
    ),
    "aladdinpersson": (lambda: randomized(Reflecting()), "aladdinpersson's CycleGAN"),
    "znxlwm": (lambda: randomized(Functional()), r"reflection padding \(assumed"),
    "CUT": (
        lambda: resnet(blurred=True, ups="spread"),
        "CUT's antialiased ResNet: blurred downsampling, bilinear upsampling, reflection padding",
    ),
    "CUT, not up": (lambda: resnet(blurred=True), "blurred downsampling, transposed convolutions"),
    "PyTorch-GAN's U-Net": (lambda: randomized(NumberedUNet()), "PyTorch-GAN's U-Net: 6 levels"),
    "a flat U-Net": (
        lambda: randomized(NumberedUNet(norm=nn.BatchNorm2d, transposed=True)),
        r"a flat U-Net, LeakyReLU's output in its skips \(assumed; or --form\): 6 levels",
    ),
    "aladdinpersson's U-Net": (
        lambda: randomized(ReflectingUNet()),
        "aladdinpersson's U-Net: 6 levels, BatchNorm with its running averages",
    ),
    "znxlwm's U-Net": (
        lambda: randomized(FunctionalUNet()),
        "a flat U-Net, ReLU's output in its skips",
    ),
}


def imported(path: Path, run: Path, settings: dict | None = None, key: str | None = None):
    """(what it was read as, the generator of the run that becomes of it)."""
    read = import_run(path, run, settings=settings, key=key)
    [generator] = load_run(run)[1].generators.values()
    return read, generator


def levels_of(network: nn.Module, picture: np.ndarray) -> np.ndarray:
    """Its picture [H, W, C] in grey levels, as the bundle's, not rounded."""
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        return ((network(x)[0].permute(1, 2, 0) + 1) * 127.5).numpy()


def as_it_is_run(network: nn.Module, running: bool) -> nn.Module:
    """Without dropout; BatchNorm by its averages, or in train mode as at batch 1."""
    network.eval()
    if not running:
        for layer in network.modules():
            layer.train(isinstance(layer, nn.BatchNorm2d))
    return network


# Of these nothing else is exported like them: not in the networks' own tests, nor above here.
# Each form of the networks once; the others with `-m slow`.
EXPORTED = ["PyTorch-GAN", "CUT", "PyTorch-GAN's U-Net"]
LONG = ["zero padding", "aladdinpersson", "aladdinpersson's U-Net", "znxlwm's U-Net"]
EXPORTED += [pytest.param(name, marks=pytest.mark.slow) for name in LONG]


@pytest.fixture(scope="module")
def picture(emoji) -> np.ndarray:
    return images.resize(images.read(sorted((emoji / "flat").iterdir())[3]).pixels, 128, 64)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_read_as_what_it_is(name, tmp_path, picture):
    make, reading = FAMILIES[name]
    network = make()
    torch.save(network.state_dict(), tmp_path / "somebodys.pth")
    read, ours = imported(tmp_path / "somebodys.pth", tmp_path / "run")
    assert re.search(reading, read.reading), read.reading
    assert read.reading in (tmp_path / "run" / "README.md").read_text()
    expected = levels_of(as_it_is_run(network, read.running), picture)
    assert expected.std() > 20  # a picture, and not all black or white
    same = levels_of(ours.eval() if read.running else image_statistics(ours), picture)
    assert np.abs(same - expected).max() < 0.01


@pytest.mark.parametrize("name", EXPORTED)
def test_a_family_gives_its_own_pictures_when_exported(name, tmp_path, picture, quiet):
    network = FAMILIES[name][0]()
    torch.save(network.state_dict(), tmp_path / "somebodys.pth")
    read = import_run(tmp_path / "somebodys.pth", tmp_path / "run", settings={"size": 64})
    [(bundle, _)] = export_run(tmp_path / "run", quiet, running_statistics=read.running)
    expected = levels_of(as_it_is_run(network, read.running), picture)
    [ours] = Translator(bundle, "cpu")([picture])
    assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_names_alone_give_the_order(name, tmp_path, picture):
    network = FAMILIES[name][0]()
    save_file(network.state_dict(), tmp_path / "somebodys.safetensors")  # sorts them
    read, ours = imported(tmp_path / "somebodys.safetensors", tmp_path / "run")
    expected = levels_of(as_it_is_run(network, read.running), picture)
    same = levels_of(ours.eval() if read.running else image_statistics(ours), picture)
    assert np.abs(same - expected).max() < 0.01


def test_ten_blocks_sorted_by_their_letters_are_put_in_order(tmp_path, picture):
    network = resnet(blocks=11, width=4)
    torch.save(dict(sorted(network.state_dict().items())), tmp_path / "G.pth")
    _, ours = imported(tmp_path / "G.pth", tmp_path / "run")
    expected, same = (levels_of(net, picture) for net in (network, ours))
    assert np.abs(same - expected).max() < 0.01


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("PyTorch-GAN", {"upsample": "bilinear"}),
        ("zero padding", {"padding": "reflect"}),
        ("znxlwm", {"padding": "reflect"}),
        ("a flat U-Net", {"form": "rectified"}),
        ("a flat U-Net", {"form": "aladdinpersson"}),
    ],
)
def test_what_shapes_cannot_tell_can_be_set(name, setting, tmp_path, picture):
    torch.save(FAMILIES[name][0]().state_dict(), tmp_path / "G.pth")
    _, read = imported(tmp_path / "G.pth", tmp_path / "read")
    _, other = imported(tmp_path / "G.pth", tmp_path / "set", settings=setting)
    assert np.abs(levels_of(read.eval(), picture) - levels_of(other.eval(), picture)).max() > 5


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("CUT", {"upsample": "nearest"}),
        ("the authors' ResNet", {"upsample": "nearest"}),
        ("the authors' ResNet", {"form": "flat"}),
        ("PyTorch-GAN's U-Net", {"form": "flat"}),
        ("PyTorch-GAN's U-Net", {"padding": "zeros"}),
    ],
)
def test_what_the_layers_tell_cannot_be_set(name, setting, tmp_path):
    torch.save(FAMILIES[name][0]().state_dict(), tmp_path / "G.pth")
    with pytest.raises(UsageError, match=f"leave --{next(iter(setting))} out"):
        import_run(tmp_path / "G.pth", tmp_path / "run", settings=setting)


def test_bilinear_enlarging_is_what_it_says(tmp_path, picture):
    network = resnet("main", "layers", ups="bilinear")
    torch.save(network.state_dict(), tmp_path / "G.pth")
    read, ours = imported(tmp_path / "G.pth", tmp_path / "run", settings={"upsample": "bilinear"})
    assert "nearest upsampling (assumed; or --upsample bilinear)" in read.reading
    assert read.reading.endswith("; given: upsample bilinear")
    assert np.abs(levels_of(ours, picture) - levels_of(network, picture)).max() < 0.01


def generator() -> dict:
    return resnet(width=4, blocks=1).state_dict()


def discriminator() -> dict:
    return PatchGAN(3, 4).state_dict()


CHECKPOINTS = {
    "model": {"epoch": 3, "model": generator(), "optimizer": {"state": {}, "param_groups": []}},
    "params_ema": {"params_ema": generator()},
    "beside a discriminator": {"G": generator(), "D": discriminator(), "step": 1},
    "a state dict in a part": {"gen": {"state_dict": generator(), "lr": 1e-4}},
    "torch.compile": {f"_orig_mod.{k}": v for k, v in generator().items()},
    "both": {f"module._orig_mod.{k}": v for k, v in generator().items()},
    "Lightning": {
        "state_dict": {
            **{f"net_G.{k}": v for k, v in generator().items()},
            **{f"net_D.{k}": v for k, v in discriminator().items()},
        },
        "hyper_parameters": {"lr": 1e-4},
    },
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_the_one_generator_of_a_checkpoint_is_taken(what, tmp_path):
    torch.save(CHECKPOINTS[what], tmp_path / "last.ckpt")
    _, ours = imported(tmp_path / "last.ckpt", tmp_path / "run")
    assert torch.equal(ours.model[1].weight, generator()["model.1.weight"])


@pytest.mark.parametrize("lightning", [False, True])
def test_of_several_generators_one_is_chosen_by_its_key(lightning, tmp_path):
    parts = {"netG_A2B": generator(), "netG_B2A": generator(), "netD_A": discriminator()}
    parts["netG_B2A"]["model.1.weight"] += 1
    if lightning:
        parts = {
            f"{n}.{key}": tensor for n, state in parts.items() for key, tensor in state.items()
        }
    torch.save(parts, tmp_path / "all.pth")
    with pytest.raises(DataError, match="several generators: netG_A2B, netG_B2A"):
        import_run(tmp_path / "all.pth", tmp_path / "run")
    with pytest.raises(UsageError, match="no generator of --key netD_A; it has netG_A2B, netG_B2A"):
        import_run(tmp_path / "all.pth", tmp_path / "run", key="netD_A")
    _, ours = imported(tmp_path / "all.pth", tmp_path / "run", key="netG_B2A")
    assert torch.equal(ours.model[1].weight, generator()["model.1.weight"] + 1)


def unlike(network: nn.Module, **changed: torch.Tensor | None) -> dict:
    state = network.state_dict() | {k.replace("__", "."): v for k, v in changed.items()}
    return {key: tensor for key, tensor in state.items() if tensor is not None}


def convolutions(*shapes: tuple[int, ...]) -> dict:
    return {f"layer.{i}.weight": torch.zeros(shape) for i, shape in enumerate(shapes)}


REFUSED = {
    "a discriminator": (discriminator(), "looks like a discriminator"),
    "one of PyTorch-GAN's U-Net's output": (
        convolutions((64, 1, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (1, 256, 4, 4)),
        "looks like a discriminator",
    ),
    "four halvings": (
        convolutions(
            (4, 3, 7, 7),
            *((2 * c, c, 3, 3) for c in (4, 8, 16, 32)),
            *[(64, 64, 3, 3)] * 2,
            *((2 * c, c, 3, 3) for c in (32, 16, 8, 4)),
            (3, 4, 7, 7),
        ),
        r"downsamples 4 times, such as pix2pixHD's",
    ),
    "an early U-Net of PyTorch-GAN": (
        convolutions(
            (4, 3, 3, 3),
            *((2 * c, c, 3, 3) for c in (4, 8, 16)),
            *((16, 32, 3, 3), (8, 32, 3, 3), (4, 16, 3, 3), (3, 8, 3, 3)),
        ),
        "upsamples before convolutions",
    ),
    "fast style transfer": (
        convolutions((8, 3, 9, 9), *[(8, 8, 3, 3)] * 5, (3, 8, 9, 9)),
        "fast style transfer",
    ),
    "StarGAN's layers without labels": (
        {
            k: v[:, :3] if k == "main.0.weight" else v
            for k, v in StarGenerator(3, 1, 4, 1).state_dict().items()
        },
        "has no input for labels",
    ),
    "VGG": (
        {**convolutions(*[(8, 8, 3, 3)] * 6), "classifier.0.weight": torch.zeros(9, 9)},
        r"a classifier of pictures \(VGG",
    ),
    "half a block": (
        unlike(
            resnet(), model__11__conv_block__1__weight=None, model__11__conv_block__1__bias=None
        ),
        "half a block: 3 convolutions",
    ),
    "a block missing": (
        {k: v for k, v in resnet(blocks=3).state_dict().items() if not k.startswith("model.11.")},
        "block is missing between 10 and 12",
    ),
    "a norm too few": (
        {k: v for k, v in resnet(norm=affine).state_dict().items() if not k.startswith("model.5.")},
        "no norm after model.4",
    ),
    "another blur": (
        unlike(resnet(blurred=True), model__7__filt=torch.full((16, 1, 3, 3), 1 / 9)),
        "its filters are not CUT's",
    ),
    "a blur missing": (
        unlike(resnet(blurred=True), model__7__filt=None),
        "its filters are not CUT's",
    ),
    "attention": (
        unlike(resnet(), gamma=torch.zeros(1)),
        "gamma does not belong to a known kind of layer",
    ),
    "attention beside": (
        unlike(resnet(), attention__key__weight=torch.zeros(8, 8)),
        r"attention\.key\.weight \[8, 8\] is neither a convolution's nor a norm's",
    ),
    "PyTorch-GAN's of grey pictures": (
        unlike(resnet(block="block", ups="nearest"), model__1__weight=torch.zeros(8, 1, 7, 7)),
        "pads by as many pixels as it has channels",
    ),
    "other channels within": (
        unlike(UNet(3, 3, 4, 5), model__model__1__model__1__weight=torch.zeros(9, 4, 4, 4)),
        r"model\.model\.1\.model\.1\.weight \[9, 4, 4, 4\] doesn't fit",
    ),
    "a U-Net too deep": (
        convolutions(*[(4, 3, 4, 4)] * 300),
        "300 convolutions, unlike a U-Net",
    ),
    "a name of 80 parts": (
        {"model." * 80 + "weight": torch.zeros(4, 3, 4, 4), "9" * 450 + ".bias": torch.zeros(1)},
        "has a bias, but no weight",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_generator_known_here_is_told_by_what_it_is(what, tmp_path):
    state, reason = REFUSED[what]
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(DataError, match=f"not a known generator.*{reason}"):
        import_run(tmp_path / "G.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_optimizers_state_is_told(tmp_path):
    network = nn.Conv2d(3, 3, 3)
    torch.save(torch.optim.Adam(network.parameters()).state_dict(), tmp_path / "optimizer.pth")
    with pytest.raises(DataError, match="is the state of an optimizer"):
        import_run(tmp_path / "optimizer.pth", tmp_path / "run")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_whole_pickled_model_is_told_and_not_loaded(zipped, tmp_path):
    torch.save(resnet(), tmp_path / "G.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"more than tensors \(families.Whole\).*state_dict\(\)"):
        import_run(tmp_path / "G.pth", tmp_path / "run")


def test_a_program_of_torchscript_is_told(tmp_path):
    torch.jit.script(nn.Conv2d(3, 3, 3)).save(str(tmp_path / "G.pt"))
    with pytest.raises(DataError, match=r"more than tensors \(TorchScript\)"):
        import_run(tmp_path / "G.pt", tmp_path / "run")


@pytest.mark.parametrize(
    "names",
    [("netG_A2B.pth", "netG_B2A.pth"), ("G_AB_5.pth", "G_BA_5.pth")],
)
def test_two_directions_by_the_names_of_other_repositories(names, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    torch.save(generator(), folder / "G_AB_3.pth" if "G_AB" in names[0] else folder / "netD_A.pth")
    for number, name in enumerate(names):
        state = generator()
        state["model.1.weight"] += number
        torch.save(state, folder / name)
    import_run(folder, tmp_path / "run")
    method = load_run(tmp_path / "run")[1]
    weights = [method.generators[way].model[1].weight for way in ("ab", "ba")]
    assert torch.equal(weights[0] + 1, weights[1])


def test_two_generators_of_different_networks_make_no_run(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    torch.save(resnet(blurred=True).state_dict(), folder / "netG_A2B.pth")
    torch.save(resnet().state_dict(), folder / "netG_B2A.pth")
    with pytest.raises(DataError, match=r"different networks: .*is CUT's"):
        import_run(folder, tmp_path / "run")


def test_a_file_of_weights_is_no_model_to_translate_with(tmp_path):
    torch.save(generator(), tmp_path / "my net.pth")
    with pytest.raises(DataError, match=r"img2img import '.*my net\.pth'"):
        Translator(tmp_path / "my net.pth", "cpu")


def test_weights_of_another_repository_are_imported_before_training_goes_on(tmp_path):
    torch.save(generator(), tmp_path / "G.pth")
    with pytest.raises(DataError, match="img2img import FILE"):
        begin_with(ResNet(), tmp_path / "G.pth")


@pytest.mark.parametrize(("options", "running"), [((), True), (("--no-running-stats",), False)])
def test_batch_norm_goes_by_its_averages_where_its_repository_does(
    options, running, tmp_path, monkeypatch
):
    torch.save(randomized(ReflectingUNet()).state_dict(), tmp_path / "gen.pth.tar")
    asked = []

    def export_nothing(run: Path, console: Console, running_statistics: bool) -> list:
        asked.append(running_statistics)
        return []

    monkeypatch.setattr("img2img.export.run.export_run", export_nothing)
    arguments = ["import", str(tmp_path / "gen.pth.tar"), "--out", str(tmp_path), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Read as aladdinpersson's U-Net" in done.output
    assert asked == [running]


def test_every_reading_of_our_own_networks_is_sure():
    for network in (ResNet(3, 3, 4, 1), UNet(3, 3, 4, 5, "instance"), StarGenerator(3, 5, 4, 1)):
        reading = recognize(network.state_dict()).reading
        assert "assumed" not in reading.replace("instance norm (assumed; or --norm none)", "")


def test_an_empty_state_is_refused():
    with pytest.raises(Unrecognized):
        recognize({})
