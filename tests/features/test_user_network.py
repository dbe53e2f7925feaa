"""Feature networks from files: what works, and what is refused in a sentence."""

import copy
import io
import warnings
import zipfile

import onnx
import pytest
import torch
from torch import nn

from img2img.errors import DataError, UsageError
from img2img.features import feature_network, feature_sha256
from img2img.nets.init import initialize


class Pyramid(nn.Module):
    """Two feature maps and what has no positions: what a user's network may look like."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 12, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.5, 0.5)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shallow = torch.relu(self.norm(self.first(image)))
        deep = self.second(self.pool(shallow)).sigmoid()
        return shallow, deep.mean((2, 3)), deep


@pytest.fixture(scope="module")
def pyramid():
    return Pyramid().eval()


def export(network, path, dynamo=True, **metadata):
    """Write the network as ONNX; metadata: of the file."""
    image = torch.rand(2, 3, 64, 96)
    axes = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
            torch.onnx.export(network, (image,), path, dynamic_shapes=shapes, verbose=False)
        else:
            torch.onnx.export(
                network,
                (image,),
                path,
                dynamo=False,
                opset_version=17,
                input_names=["image"],
                dynamic_axes={"image": axes},
            )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def files(pyramid, tmp_path_factory):
    """The pyramid as ONNX by both exporters, and as traced and as scripted TorchScript."""
    folder = tmp_path_factory.mktemp("networks")
    export(pyramid, folder / "dynamo.onnx")
    export(pyramid, folder / "traced.onnx", dynamo=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(pyramid, torch.rand(1, 3, 64, 64)).save(folder / "traced.pt")
        torch.jit.script(pyramid).save(folder / "scripted.pt")
    return folder


FILES = ["dynamo.onnx", "traced.onnx", "traced.pt", "scripted.pt"]


def picture(height=48, width=80):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", FILES)
def test_features_are_the_outputs_with_positions_and_gradients_flow(name, files, pyramid):
    network = feature_network(str(files / name))
    assert (network.name, network.channels) == (str(files / name), [8, 12])
    assert network.sha256 == feature_sha256(str(files / name))
    ours, theirs = (picture().requires_grad_() for _ in range(2))
    shallow, deep = network(ours)
    expected = pyramid(theirs)
    torch.testing.assert_close(shallow, expected[0])
    torch.testing.assert_close(deep, expected[2])
    (shallow.sum() + deep.sum()).backward()
    (expected[0].sum() + expected[2].sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", FILES)
def test_a_users_network_is_frozen_and_unsaved(name, files):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = feature_network(str(files / name))

    holder = Holder()
    before = holder.network(picture())
    initialize(holder, "normal")
    holder.requires_grad_(True).train()
    assert list(holder.parameters()) == []
    assert holder.state_dict() == {}
    assert all(map(torch.equal, holder.network(picture()), before))
    copied = copy.deepcopy(holder).to("cpu")
    assert all(map(torch.equal, copied.network(picture()), before))
    assert copied.network._network[0] is not holder.network._network[0]


@pytest.mark.parametrize("name", FILES)
def test_moving_it_moves_its_weights(name, files):
    network = feature_network(str(files / name)).to(torch.float64)
    module = network._network[0]
    weights = [*module.parameters(), *module.buffers()]
    assert weights
    assert all(w.dtype == torch.float64 for w in weights if w.is_floating_point())


@pytest.mark.parametrize("name", ["dynamo.onnx", "traced.pt", "efficientnet-lite0"])
def test_opening_a_network_leaves_the_random_numbers_alone(name, files):
    given = name if name.startswith("eff") else str(files / name)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    feature_network(given)
    assert torch.equal(torch.rand(3), expected)


def test_stages_choose_among_the_outputs(files):
    network = feature_network(str(files / "traced.pt"), (1,))
    assert network.channels == [12]
    assert [feature.shape[1] for feature in network(picture())] == [12]
    with pytest.raises(UsageError, match=r"has no outputs 2\. Give different numbers from 0 to 1"):
        feature_network(str(files / "traced.pt"), (2,))


def test_mean_and_std_in_the_metadata_are_of_values_from_0_to_1(files, pyramid, tmp_path):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    texts = {"mean": "0.485, 0.456, 0.406", "std": "[0.229,0.224,0.225]"}
    path = export(pyramid, tmp_path / "imagenet.onnx", **texts)
    unit = (picture() + 1) / 2
    shifted = (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(
        feature_network(str(path))(picture())[0], pyramid(shifted)[0], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    "metadata",
    [{"mean": "0.5,0.5,0.5"}, {"mean": "a,b,c", "std": "1,1,1"}, {"mean": "0,0,0", "std": "1,1,0"}],
)
def test_half_a_normalization_is_refused(metadata, pyramid, tmp_path):
    path = export(pyramid, tmp_path / "x.onnx", **metadata)
    with pytest.raises(DataError, match="mean and std must both be three numbers"):
        feature_network(str(path))


class Fixed(nn.Module):
    """It takes one size only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1)

    def forward(self, image):
        return self.conv(image) * torch.ones(64, 96)


class Flat(nn.Module):
    def forward(self, image):
        return image.mean((2, 3))


class Rounds(nn.Module):
    def forward(self, image):
        return (image > 0).float()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Fixed(), r"takes RGB pictures \[N, 3, H, W\] of any size and number"),
        (Flat(), r"has no output \[N, C, h, w\]"),
        (Rounds(), "passes gradients"),
    ],
)
def test_what_is_no_feature_network_is_refused(network, message, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.rand(1, 3, 64, 96)).save(tmp_path / "x.pt")
    with pytest.raises(DataError, match=message):
        feature_network(str(tmp_path / "x.pt"))


def test_an_operator_that_is_not_converted_is_named(tmp_path):
    image = onnx.helper.make_tensor_value_info("x", 1, ["n", 3, "h", "w"])
    output = onnx.helper.make_tensor_value_info("y", 1, ["n", 3, "h", "w"])
    node = onnx.helper.make_node("Det", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [image], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=r"feature network: the operator Det is not supported\."):
        feature_network(str(tmp_path / "x.onnx"))


def test_weights_in_other_files_are_refused(pyramid, tmp_path):
    path = export(pyramid, tmp_path / "x.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="w")
    with pytest.raises(DataError, match="keeps weights in other files"):
        feature_network(str(path))


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_a_file_that_is_damaged_or_missing_is_a_data_error(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    with pytest.raises(DataError, match=r"can't be read \(No such file"):
        feature_network(str(path))
    path.write_bytes(b"no network")
    with pytest.raises(DataError, match="is not a valid"):
        feature_network(str(path))


def test_a_pickle_is_not_opened(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x\.pt is not loaded|x\.pt can't be loaded"):
        feature_network(str(tmp_path / "x.pt"))


def test_another_suffix_is_refused_with_those_that_are_read():
    with pytest.raises(UsageError, match=r"no feature network vgg\.pt2\. .* \.onnx, \.pt"):
        feature_network("vgg.pt2")


class Writes(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        torch.save(image, "written")
        return image


class Reads(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.from_file("/etc/hostname", size=1)


@pytest.mark.parametrize(("network", "operator"), [(Writes(), "save"), (Reads(), "from_file")])
def test_a_program_that_touches_files_is_refused(network, operator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save("x.pt")
    with pytest.raises(
        DataError, match=rf"its program calls \S*{operator}, which is not in the list"
    ):
        feature_network("x.pt")
    assert not (tmp_path / "written").exists()


def rewritten(files, line):
    """traced.pt with another first line in its program's forward."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(files / "traced.pt") as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as changed,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".py"):
                before, found, rest = data.decode().partition("-> Tuple[Tensor, Tensor, Tensor]:\n")
                data = f"{before}{found}    {line}\n{rest}".encode() if found else data
            changed.writestr(name, data)
    return target.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        'torch.save(image, "written")',
        'ops.aten.save(image, "written")',
        'image.save("written")',
        'hidden = torch; hidden.save(image, "written")',
        'hidden = ops.image; hidden.write_file("written", image)',
        'hidden = getattr(image, "save"); hidden("written")',
        'hidden = __torch__.torch.classes.x.Y("written")',
    ],
)
def test_no_spelling_of_a_call_gets_past_the_list(line, files, tmp_path):
    content = rewritten(files, line)
    assert line.encode() in content
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match="its program calls"):
        feature_network(str(tmp_path / "x.pt"))


def test_an_archive_with_two_parts_of_one_name_is_refused(files, tmp_path):
    """Of which one might be checked, and the other run."""
    content = io.BytesIO((files / "traced.pt").read_bytes())
    with zipfile.ZipFile(content, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        archive.writestr(name, b"x")
    (tmp_path / "x.pt").write_bytes(content.getvalue())
    with pytest.raises(DataError, match="two parts of one name"):
        feature_network(str(tmp_path / "x.pt"))


def test_a_part_that_networks_do_not_have_is_refused(files, tmp_path):
    content = io.BytesIO((files / "traced.pt").read_bytes())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("traced/attributes.pkl", b"x")
    (tmp_path / "x.pt").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"have no traced/attributes\.pkl"):
        feature_network(str(tmp_path / "x.pt"))
