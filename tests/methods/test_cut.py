"""CUT beyond what every method keeps; that it is the authors' is tested in test_golden.py."""

import math

import onnx
import pytest
import torch

from img2img.errors import UsageError
from img2img.export.run import export_run
from img2img.methods import METHODS
from img2img.methods.cut import CUT, CUTConfig, CUTDraws, patch_nce
from img2img.training import checkpoint

SMALL = {"size": 32, "width": 4, "d_width": 4, "d_layers": 2, "nce_patches": 16, "nce_width": 8}


@pytest.fixture
def step():
    """A method, a batch of two pictures, and draws for it."""

    def make(**settings):
        torch.manual_seed(0)
        method = CUT(CUTConfig(**{**SMALL, "blocks": 2, **settings}))
        batch = {name: torch.rand(2, 3, 32, 32) * 2 - 1 for name in "ab"}
        return method, batch, method.draws(batch, torch.tensor(0.0), 1.0)

    return make


def test_patch_nce_is_the_cross_entropy_of_matching_patches():
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    key = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])  # lengths do not count
    certain = math.log(1 + math.exp(-1 / 0.5))
    assert patch_nce(query, key, 0.5).item() == pytest.approx(certain, rel=1e-5)
    mixed_up = math.log(1 + math.exp(1 / 0.5))
    assert patch_nce(query, key.flip(1), 0.5).item() == pytest.approx(mixed_up, rel=1e-5)


def test_patches_of_other_pictures_are_no_negatives():
    query, key = torch.randn(3, 8, 4), torch.randn(3, 8, 4)
    each = [patch_nce(query[i : i + 1], key[i : i + 1], 0.07) for i in range(3)]
    assert patch_nce(query, key, 0.07).item() == pytest.approx(torch.stack(each).mean().item())


def test_keys_get_no_gradient_and_heads_learn_with_the_generators(step):
    method, batch, draws = step()
    terms = method.g_terms(batch, method.scene(batch, draws), draws)
    assert set(terms) == {"adversarial", "nce", "nce_identity"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in method.heads.parameters())
    assert CUT.learners["heads"] == "generators"


def test_places_are_of_the_features_as_they_are(step):
    for antialias in (True, False):
        method, batch, draws = step(antialias=antialias)
        features = method.generators["ab"].encode(batch["a"])
        sizes = method.config.generator.feature_sizes(32, 32)
        assert [tuple(layer.shape[2:]) for layer in features] == sizes
        for layer, places in zip(features, draws.places[0], strict=True):
            assert len(places) == min(16, layer[0, 0].numel()) == len(set(places.tolist()))
            assert int(places.max()) < layer[0, 0].numel()


def test_a_mirrored_step_compares_the_same_places(step):
    """With flip equivariance a generator that commutes with mirroring has the same loss."""
    method, batch, draws = step(**CUT.presets["fastcut"] | {"nce_identity": False})
    assert isinstance(draws, CUTDraws)
    plain, mirrored = (
        CUTDraws(**{**vars(draws), "flipped": torch.tensor(flipped)}) for flipped in (False, True)
    )
    fake, flipped = (method.scene(batch, d)["fake_b"] for d in (plain, mirrored))
    again = method.generators["ab"](batch["a"].flip(3))
    assert torch.equal(flipped, again)
    assert not torch.equal(flipped, fake)
    # What the network makes of the mirrored picture, mirrored back, is compared with the source.
    mirrored_back = method.g_terms(batch, {"fake_b": fake.flip(3)}, mirrored)["nce"]
    encoded = [layer.flip(3) for layer in method.generators["ab"].encode(fake.flip(3))]
    keys = method.heads["ab"](method.generators["ab"].encode(batch["a"]), draws.places[0])
    queries = method.heads["ab"](encoded, draws.places[0])
    losses = [patch_nce(q, k, 0.07) for q, k in zip(queries, keys, strict=True)]
    assert mirrored_back.item() == pytest.approx(10 * torch.stack(losses).mean().item(), rel=1e-5)


def test_fastcut_is_a_preset(make_config):
    config = make_config("cut", {"preset": "fastcut"}).method
    assert (config.nce, config.nce_identity, config.flip_equivariance) == (10.0, False, True)
    assert config.decay == 0.25


def test_a_generator_without_features_is_refused(make_config):
    with pytest.raises(
        UsageError, match="features of the generator, and unet provides none; set generator=resnet"
    ):
        make_config("cut", generator="unet")


def test_heads_train_and_resume_but_do_not_travel(trained):
    run = trained("cut")
    state = checkpoint.load(run / checkpoint.LAST)["trainer"]
    assert any(name.startswith("heads.ab.mlp_0") for name in state["method"])
    assert "heads" in state["optimizers"]
    tensors, _ = checkpoint.load_weights(run / checkpoint.WEIGHTS)
    assert {name.split(".")[0] for name in tensors} == {"ab"}


def test_the_exported_model_has_no_heads(trained, quiet, tmp_path):
    [(path, parity)] = export_run(trained("cut"), quiet, tmp_path / "cut.onnx")
    assert parity["max_levels"] <= 1
    assert not any(node.op_type in ("MatMul", "Gemm") for node in onnx.load(path).graph.node)


def test_it_is_in_the_table():
    assert METHODS["cut"] is CUT
