"""--deterministic: what it switches, and that no step needs what torch can't repeat on a GPU."""

import os

import pytest
import torch
from calls import Calls
from conftest import tiny_preset
from gradients import four_pictures, precision, start
from states import assert_bitwise, state

from img2img.errors import UsageError
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.determinism import CUBLAS, deterministic_algorithms
from img2img.training.loop import train
from img2img.training.plan import make_plan
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime
from img2img.training.trainer import Trainer

# The operators of what raises an error on CUDA, by the documentation of
# torch.use_deterministic_algorithms (torch 2.15), and of the gradients of F.interpolate with
# antialias and of replication, whose kernels raise one, too.
UNREPEATABLE = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "max_unpool2d", "max_unpool3d"),
    *("fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("upsample_linear1d_backward", "upsample_trilinear3d_backward"),
    *("upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward"),
    *("upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter_reduce", "scatter_reduce_"),
    *("nll_loss2d_forward", "_ctc_loss_backward", "_embedding_bag_dense_backward"),
    *("put", "put_", "histc", "bincount", "median"),
}
PRESETS = [(mode, preset) for mode in METHODS for preset in METHODS[mode].presets]
OTHERS = [
    ("pix2pix", {"padding": "replicate", "upsample": "bilinear", "antialias": True}),
    ("pix2pix", {"form": "aladdinpersson"}),
    ("pix2pix", {"form": "pytorch-gan", "padding": "replicate"}),
    ("cyclegan", {"generator": {"name": "attention-unet", "width": 4, "upsample": "bilinear"}}),
    ("pix2pix", {"discriminator": "unet", "d_width": 4, "perceptual": 1.0, "ssim": 1.0}),
    ("pix2pix", {"discriminator": "multiscale", "d_width": 4, "d_layers": 2, "d_scales": 2}),
    ("pix2pix", {"objective": "mmd", "minibatch": "discrimination", "d_antialias": True}),
    ("cyclegan", {"padding": "reflect", "upsample": "nearest", "objective": "rpgan"}),
    ("cyclegan", {"objective": "hinge", "augment": ("colour", "translation", "cutout"), "pool": 3}),
    ("cyclegan", {"discriminator": "projected", "d_width": 4, "objective": "hinge"}),
    (
        "stargan",
        {"generator": {"name": "modulated", "width": 4, "blocks": 1, "padding": "replicate"}},
    ),
]


@pytest.mark.parametrize(("mode", "preset"), PRESETS)
def test_every_preset_trains_with_what_can_be_repeated_alone(
    mode, preset, make_config, quiet, tmp_path
):
    run = {"preset": preset, "deterministic": True}
    config = make_config(mode, run, **{"d_steps": 1, "steps": 2, **tiny_preset(mode, preset)})
    with Calls() as calls:
        train(make_plan(config, quiet), tmp_path / "run", quiet)
    assert calls.names & UNREPEATABLE == set()
    assert {"convolution", "convolution_backward"} <= calls.names
    assert state(tmp_path / "run")["step"] == 2
    assert RunConfig.load(tmp_path / "run").deterministic
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("mode", "settings"), OTHERS, ids=str)
def test_other_networks_and_losses_do_so_too(mode, settings):
    trainer = start(mode, settings, Ranks())
    with deterministic_algorithms(), Calls() as calls:
        for _ in range(2):
            trainer.update(*four_pictures(mode, precision(settings)))
    assert calls.names & UNREPEATABLE == set()


def test_without_the_option_bilinear_interpolation_could_not_be_repeated():
    """Which also shows that the tests above would see it."""
    trainer = start("pix2pix", OTHERS[0][1], Ranks())
    with Calls() as calls:
        trainer.update(*four_pictures("pix2pix"))
    assert calls.names & UNREPEATABLE == {"upsample_bilinear2d_backward"}


def test_a_run_is_the_same_when_it_is_resumed(make_config, quiet, tmp_path):
    runs = [tmp_path / "whole", tmp_path / "parts"]
    for run, lengths in zip(runs, ([4], [2, 4]), strict=True):
        for steps in lengths:
            config = make_config("cut", {"deterministic": True}, steps=steps, decay=0)
            train(make_plan(config, quiet), run, quiet)
    assert_bitwise(*(state(run) for run in runs))


def test_torch_is_as_before_after_the_block():
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic

    def switches():
        return (
            torch.are_deterministic_algorithms_enabled(),
            *(cudnn.benchmark, cudnn.deterministic, memory.fill_uninitialized_memory),
        )

    before = switches()
    tensor_float = cudnn.allow_tf32
    with deterministic_algorithms():
        assert switches() == (True, False, True, False)
        assert cudnn.allow_tf32 == tensor_float
    assert switches() == before


def test_an_operation_without_a_deterministic_form_is_refused_by_name(
    make_config, quiet, tmp_path, monkeypatch
):
    def update(*_):
        raise RuntimeError(
            "median CUDA with indices output does not have a deterministic implementation, but you "
            "set 'torch.use_deterministic_algorithms(True)'."
        )

    monkeypatch.setattr(Trainer, "update", update)
    plan = make_plan(make_config("pix2pix", {"deterministic": True}), quiet)
    with pytest.raises(UsageError, match=r"form of median CUDA with indices output.*--d-network"):
        train(plan, tmp_path / "run", quiet)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="out of luck"), deterministic_algorithms():
        raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("given", "kept"), [(None, ":4096:8"), (":16:8", ":16:8"), (":0:0", ":4096:8")]
)
def test_cublas_is_told_before_cuda_starts(given, kept, monkeypatch):
    monkeypatch.delenv(CUBLAS, raising=False)
    if given:
        monkeypatch.setenv(CUBLAS, given)
    Runtime("cpu", "fp32")
    assert os.environ.get(CUBLAS) == given
    runtime = Runtime("cpu", "fp32", deterministic=True)
    assert os.environ[CUBLAS] == kept
    assert runtime.describe() == "cpu, fp32, deterministic"
    assert not runtime.compiles


def test_it_can_not_be_combined_with_compiled_code(make_config):
    with pytest.raises(UsageError, match=r"deterministic.*compile"):
        make_config("pix2pix", {"deterministic": True, "compile": True})
    assert make_config("pix2pix", {"deterministic": True, "compile": False}).deterministic
