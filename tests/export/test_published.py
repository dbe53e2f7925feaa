"""Published generators: read off their files, and run as the authors run them."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from img2img import Translator, images
from img2img.errors import DataError, UsageError
from img2img.export import published
from img2img.export.graph import load_run
from img2img.export.published import import_run
from img2img.export.recognize import recognize
from img2img.export.run import export_run
from img2img.nets.patchgan import PatchGAN
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator
from img2img.nets.unet import UNet

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NETS = {
    "resnet_6blocks_batch_ngf8": ("ab", {"blocks": 6, "norm": "batch", "width": 8}),
    "resnet_9blocks_instance_ngf8": ("ab", {"blocks": 9, "norm": "instance", "dropout": False}),
    "unet_128_batch_ngf4": ("ab", {"levels": 7, "norm": "batch", "width": 4, "size": 128}),
    "unet_128_instance_ngf4": ("ab", {"levels": 7, "norm": "instance"}),
}


def imported(path: Path, run: Path, **options):
    """(config of the method, generators) of the run that becomes of a file."""
    import_run(path, run, **options)
    config, method, _ = load_run(run)
    return config.method, method.generators


def save(network: nn.Module, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", NETS)
def test_the_authors_networks_come_back_with_their_outputs(name, tmp_path):
    direction, expected = NETS[name]
    config, generators = imported(GOLDEN / "nets" / f"{name}.pth", tmp_path / "run")
    assert {key: config.flat()[key] for key in expected} == expected
    golden = load_file(GOLDEN / "nets" / f"{name}.io.safetensors")
    network = generators[direction].eval()
    with torch.no_grad():
        output = network(golden["input"].float())
    torch.testing.assert_close(output, golden["output_eval_mode"], rtol=0, atol=1e-5)


def test_stargan_brings_the_published_domains_and_loses_running_statistics(tmp_path):
    path = GOLDEN / "stargan" / "celeba" / "init-G.ckpt"
    config, generators = imported(path, tmp_path / "run")
    assert config.labels.names == ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
    assert config.labels.sets[0].kind == "attributes"
    assert (config.generator.width, config.generator.blocks) == (8, 2)
    state = torch.load(path, weights_only=True)
    ours = generators["any"].state_dict()
    assert set(state) - set(ours) == {k for k in state if "running" in k or "num_batches" in k}
    assert all(torch.equal(tensor, state[key]) for key, tensor in ours.items())


@pytest.mark.parametrize(
    ("width", "names", "sets"),
    [(8, (), ["classes"]), (15, (), ["attributes", "classes"]), (3, ("x", "y", "z"), ["classes"])],
)
def test_stargans_labels(width, names, sets, tmp_path):
    path = save(StarGenerator(3, width, 4, 1), tmp_path / "1000-G.ckpt")
    config, _ = imported(path, tmp_path / "run", domains=names)
    assert [labelled.kind for labelled in config.labels.sets] == sets
    assert config.labels.width == width
    assert not names or config.labels.names == names


def test_names_must_be_as_many_as_domains(tmp_path):
    path = save(StarGenerator(3, 4, 4, 1), tmp_path / "1000-G.ckpt")
    with pytest.raises(UsageError, match="has 4 domains; --domain was given 2"):
        import_run(path, tmp_path / "run", domains=("x", "y"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("channels", [(1, 3), (4, 1), (3, 4)])
@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_channels_and_direction(channels, direction, tmp_path):
    path = save(ResNet(*channels, 4, 1), tmp_path / "latest_net_G.pth")
    config, generators = imported(path, tmp_path / "run", direction=direction)
    first, second = channels if direction == "ab" else channels[::-1]
    assert (config.in_channels, config.out_channels, config.identity) == (first, second, 0)
    assert list(generators) == [direction]


def tracked(network: nn.Module) -> nn.Module:
    """As torch before 0.4 saved instance norm: with running statistics."""
    for layer in network.modules():
        if isinstance(layer, nn.InstanceNorm2d):
            layer.register_buffer("running_mean", torch.randn(layer.num_features))
            layer.register_buffer("running_var", torch.rand(layer.num_features))
    return network


def without_biases(state: dict, network: nn.Module) -> dict:
    return {k: v for k, v in state.items() if k not in {f"{c}.bias" for c, _ in hidden(network)}}


def hidden(network: nn.Module):
    return list(published._normed(network))


SPELLINGS = {
    "module.": lambda net: {f"module.{k}": v for k, v in net.state_dict().items()},
    "an outer state_dict": lambda net: {"state_dict": net.state_dict(), "epoch": 3},
    "running statistics": lambda net: tracked(net).state_dict(),
    "float64": lambda net: {k: v.double() for k, v in net.state_dict().items()},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("norm", ["instance", "instance_affine"])
def test_other_spellings_give_the_same_function(spelling, norm, tmp_path):
    torch.manual_seed(0)
    network = ResNet(3, 3, 4, 2, norm, dropout=norm == "instance").eval()
    picture = torch.rand(1, 3, 24, 24) * 2 - 1
    with torch.no_grad():
        expected = network(picture)
    torch.save(SPELLINGS[spelling](network), tmp_path / "latest_net_G_B.pth")
    config, generators = imported(tmp_path / "latest_net_G_B.pth", tmp_path / "run")
    assert (config.generator.norm, config.generator.dropout) == (norm, norm == "instance")
    with torch.no_grad():
        torch.testing.assert_close(generators["ba"].eval()(picture), expected)


def test_files_of_torch_before_1_6_are_read(tmp_path):
    network = ResNet(3, 3, 4, 1)
    path = tmp_path / "latest_net_G.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    _, generators = imported(path, tmp_path / "run")
    state = network.state_dict()
    assert all(torch.equal(t, state[k]) for k, t in generators["ab"].state_dict().items())


def test_instance_norm_without_biases_before_it(tmp_path):
    network = ResNet(3, 3, 4, 1, "instance")
    torch.save(without_biases(network.state_dict(), network), tmp_path / "G.pth")
    _, generators = imported(tmp_path / "G.pth", tmp_path / "run")
    picture = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            generators["ab"].eval()(picture), network.eval()(picture), atol=1e-5, rtol=0
        )


def test_a_bias_before_batch_norm_goes_into_its_running_mean(tmp_path):
    torch.manual_seed(0)
    network = ResNet(3, 3, 4, 1, "batch")
    plain = network.state_dict()
    biased = {k: v.clone() for k, v in plain.items()}
    biases = {}
    for convolution, norm in hidden(network):
        bias = biases[f"{convolution}.bias"] = torch.randn(len(plain[f"{norm}.weight"]))
        biased[f"{norm}.running_mean"] += bias
    fitted = published.fit(recognize(biased | biases).layers, network, Path("G.pth"))
    for key, tensor in plain.items():
        torch.testing.assert_close(fitted[key], tensor.to(fitted[key].dtype))


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    plain = save(ResNet(3, 3, 4, 1, "instance", dropout=False), tmp_path / "latest_net_G.pth")
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    assert torch.load(packed, weights_only=True)  # torch would
    longer = tmp_path / "longer.pth"
    longer.write_bytes(packed.read_bytes() + b"PK\5\6")  # no zip to Python, but to torch
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(DataError, match="is compressed, which torch never does"):
        import_run(packed, tmp_path / "run")
    with pytest.raises(DataError, match=r"damaged|compressed"):
        import_run(longer, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensors_that_share_their_numbers_are_taken_apart(tmp_path):
    network = ResNet(3, 3, 4, 1, "instance", dropout=False)
    state = network.state_dict()
    shared = torch.zeros(64)
    for name in state:
        if name.endswith("bias"):
            state[name] = shared[: len(state[name])]
    torch.save(state, tmp_path / "latest_net_G.pth")
    imported(tmp_path / "latest_net_G.pth", tmp_path / "run")


def test_safetensors_are_taken_too(tmp_path):
    network = UNet(3, 3, 4, 5, "batch")
    save_file(network.state_dict(), tmp_path / "G.safetensors")
    config, generators = imported(tmp_path / "G.safetensors", tmp_path / "run")
    assert config.generator.levels == 5
    assert torch.equal(
        generators["ab"].state_dict()["model.model.0.weight"],
        network.state_dict()["model.model.0.weight"],
    )


def test_of_a_folder_the_latest_of_each_direction(tmp_path):
    for name, width in {
        "5_net_G_A": 3,
        "latest_net_G_A": 4,
        "10_net_G_B": 4,
        "9_net_G_B": 3,
    }.items():
        save(ResNet(3, 3, width, 1), tmp_path / "horses" / f"{name}.pth")
    save(PatchGAN(3, 4, 2), tmp_path / "horses" / "latest_net_D_A.pth")
    config, generators = imported(tmp_path / "horses", tmp_path / "run")
    assert config.generator.width == 4
    assert sorted(generators) == ["ab", "ba"]


def test_iterations_are_counted_as_numbers(tmp_path):
    for name, width in {"iter_9000_net_G": 3, "iter_10000_net_G": 4}.items():
        save(ResNet(3, 3, width, 1), tmp_path / "f" / f"{name}.pth")
    assert imported(tmp_path / "f", tmp_path / "run")[0].generator.width == 4


def test_a_generator_of_one_way_alone_needs_no_direction(tmp_path):
    save(UNet(3, 3, 4, 5), tmp_path / "latest_net_G_B.pth")
    save(StarGenerator(3, 5, 4, 1), tmp_path / "star_net_G_B.pth")
    assert list(imported(tmp_path / "latest_net_G_B.pth", tmp_path / "u")[1]) == ["ab"]
    assert list(imported(tmp_path / "star_net_G_B.pth", tmp_path / "s")[1]) == ["any"]
    for name in ("latest", "star"):
        with pytest.raises(UsageError, match="single generator of CycleGAN"):
            import_run(tmp_path / f"{name}_net_G_B.pth", tmp_path / "run", direction="ba")


def test_two_generators_that_are_no_cyclegan_are_refused(tmp_path):
    for side in "AB":
        save(UNet(3, 3, 4, 5), tmp_path / "f" / f"latest_net_G_{side}.pth")
    with pytest.raises(DataError, match="pix2pix has a single generator, but"):
        import_run(tmp_path / "f", tmp_path / "run")


def test_a_network_without_norm_has_no_biases_there_in_the_authors_code(tmp_path):
    network = ResNet(3, 3, 4, 1, "none")
    torch.save(without_biases(network.state_dict(), network), tmp_path / "G.pth")
    config, generators = imported(tmp_path / "G.pth", tmp_path / "run", settings={"norm": "none"})
    assert config.generator.norm == "none"
    assert generators["ab"].state_dict()["model.1.bias"].count_nonzero() == 0


def test_a_lone_generator_back_is_found_by_its_direction(tmp_path, quiet):
    import_run(save(ResNet(3, 3, 4, 1), tmp_path / "x_net_G_B.pth"), tmp_path / "runs" / "x")
    export_run(tmp_path / "runs" / "x", quiet)
    assert Translator(tmp_path / "runs" / "x", "cpu", "ba").manifest.direction == "ba"
    with pytest.raises(UsageError, match="does not translate ab"):
        Translator(tmp_path / "runs" / "x", "cpu", "ab")


def test_two_models_in_a_folder_are_not_guessed_at(tmp_path):
    save(ResNet(3, 3, 4, 1), tmp_path / "f" / "latest_net_G_A.pth")
    save(UNet(3, 3, 4, 5), tmp_path / "f" / "latest_net_G.pth")
    with pytest.raises(DataError, match="several models"):
        import_run(tmp_path / "f", tmp_path / "run")


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def write_evil(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model.1.weight": Evil()}))


REFUSED = {
    "a discriminator": (lambda p: save(PatchGAN(3, 4, 2), p), "It looks like a discriminator"),
    "other tensors": (lambda p: torch.save({"x": torch.zeros(2)}, p), r"found x \[2\]"),
    "numbers": (lambda p: torch.save({"x": 1}, p), "has no state dict"),
    "a list": (lambda p: torch.save([torch.zeros(1)], p), "has no state dict"),
    "nothing": (lambda p: torch.save({}, p), "is empty"),
    "code": (write_evil, "damaged, or no checkpoint of torch"),
    "text": (lambda p: p.write_text("hello"), "damaged, or no checkpoint of torch"),
    "not finite": (
        lambda p: torch.save(
            {k: v * torch.inf for k, v in ResNet(3, 3, 4, 1).state_dict().items()}, p
        ),
        "not all numbers are finite",
    ),
    "a name of thousands of parts": (
        lambda p: torch.save(
            {"a." * 3000 + k: v for k, v in ResNet(3, 3, 4, 1).state_dict().items()}, p
        ),
        r"the name of a tensor has 6,\d+ characters \(a\.a\.",
    ),
    "a larger claim than the file": (
        lambda p: torch.save(
            ResNet(3, 3, 4, 1).state_dict()
            | {"model.1.weight": torch.zeros(1).expand(20000, 3, 7, 7)},
            p,
        ),
        "claims to be larger than its data",
    ),
    "no shapes": (
        lambda p: torch.save(
            {"model.1.weight": torch.tensor(0.0), "model.9.conv_block.1": torch.tensor(0.0)}, p
        ),
        "not a known generator",
    ),
    "half a network": (
        lambda p: torch.save(
            {k: v for k, v in ResNet(3, 3, 4, 2).state_dict().items() if "11.conv" not in k}
            | {"model.11.conv_block.1.bias": torch.zeros(16)},
            p,
        ),
        r"model\.11\.conv_block\.1 has a bias, but no weight",
    ),
    "no last bias": (
        lambda p: torch.save(
            {k: v for k, v in ResNet(3, 3, 4, 1).state_dict().items() if k != "model.18.bias"}, p
        ),
        r"model\.18\.bias: expected \[3\], found None",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_published_generator_is_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, said = REFUSED[what]
    write(tmp_path / "latest_net_G.pth")
    with pytest.raises(DataError, match=said):
        import_run(tmp_path / "latest_net_G.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not Path("executed").exists()


def test_a_mode_that_has_no_such_generators_is_refused(tmp_path):
    path = save(ResNet(3, 3, 4, 1), tmp_path / "latest_net_G.pth")
    with pytest.raises(UsageError, match="has a generator of cyclegan, not of stargan"):
        import_run(path, tmp_path / "run", mode="stargan")
    path = save(StarGenerator(3, 2, 4, 1), tmp_path / "1000-G.ckpt")
    with pytest.raises(UsageError, match="has a generator of stargan, not of pix2pix"):
        import_run(path, tmp_path / "run", mode="pix2pix")


@pytest.mark.parametrize(
    ("network", "mode"), [(ResNet(3, 3, 4, 1), "pix2pix"), (UNet(3, 3, 2, 5), "cyclegan")]
)
def test_a_generator_becomes_a_run_of_the_mode_that_is_asked_for(network, mode, tmp_path):
    path = save(network, tmp_path / "latest_net_G.pth")
    given = {} if mode == "pix2pix" else {"direction": "ba"}
    config, generators = imported(path, tmp_path / "run", mode=mode, **given)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        network, [ours] = network.eval(), generators.values()
        assert torch.equal(ours.eval()(image), network(image))
    assert config.generator.name == ("resnet" if mode == "pix2pix" else "unet")


@pytest.mark.parametrize("running", [False, True])
def test_batch_norm_goes_by_the_picture_unless_running_statistics_are_asked_for(
    running, tmp_path, quiet, emoji
):
    torch.manual_seed(0)
    network = ResNet(3, 3, 4, 1, "batch")
    picture = images.read(next((emoji / "flat").iterdir())).pixels
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        network(x.flip(1) / 2)  # running statistics of another picture
        train, evaluated = network(x), network.eval()(x)
    run = tmp_path / "run"
    import_run(save(network, tmp_path / "latest_net_G.pth"), run, settings={"size": 64})
    # The file was saved after the second pass in train mode.
    expected = (evaluated if running else train)[0].permute(1, 2, 0)
    [(bundle, parity)] = export_run(run, quiet, running_statistics=running)
    translator = Translator(bundle, "cpu")
    assert translator.manifest.statistics == ("running" if running else "image")
    assert "latest_net_G.pth" in translator.manifest.data["imported"]
    assert parity["max_levels"] <= 1
    [ours] = translator([picture])
    levels = ((expected + 1) * 127.5).round().clamp(0, 255).numpy()
    assert abs(ours.astype(float) - levels).max() <= 1
    assert abs((train - evaluated) * 127.5).max() > 5


def test_running_statistics_of_a_network_without_any_are_refused(tmp_path, quiet):
    import_run(save(ResNet(3, 3, 4, 1), tmp_path / "G.pth"), tmp_path / "run")
    with pytest.raises(UsageError, match="no running statistics"):
        export_run(tmp_path / "run", quiet, running_statistics=True)
