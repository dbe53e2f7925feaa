"""Real pictures and tiny trainings that the tests share."""

import os
import shutil
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before anyone imports torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of several processes starve each other

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "quickstart"
TINY = {  # settings that make a method train in seconds
    "pix2pix": {
        "size": 32,
        "resize": 36,
        "generator": {"width": 4},
        "discriminator": {"width": 4, "layers": 2},
        "batch": 2,
    },
    "cyclegan": {
        "size": 32,
        "resize": 36,
        "generator": {"width": 4, "blocks": 1},
        "discriminator": {"width": 4, "layers": 2},
        "pool": 3,
        "batch": 2,
    },
    "stargan": {
        "size": 32,
        "generator": {"width": 4, "blocks": 1},
        "discriminator": {"width": 4, "layers": 3},
        "batch": 4,
        "d_steps": 2,
    },
    "cut": {
        "size": 32,
        "resize": 36,
        "generator": {"width": 4, "blocks": 2},
        "discriminator": {"width": 4, "layers": 2},
        "nce_patches": 16,
        "nce_width": 8,
        "batch": 2,
    },
}


def tiny_preset(mode: str, preset: str) -> dict:
    """Settings that make a method with its preset tiny, of the networks that the preset chooses."""
    from img2img.methods import METHODS

    chosen = METHODS[mode].presets[preset]
    if preset == "paper":
        return {}
    parts = [{"network": {"name": name, "width": 4}} for name in ("patch", "projected")]
    return {
        "resize": None,
        "generator": {"width": 4} if "generator" in chosen else TINY[mode]["generator"],
        "discriminator": {"parts": parts} if "mixture" in chosen.values() else {"width": 4},
    }


@pytest.fixture(scope="session")
def emoji(tmp_path_factory) -> Path:
    """20 real pictures of each of two styles: flat/ and 3d/, the same names in both."""
    folder = tmp_path_factory.mktemp("emoji")
    for style in ("flat", "3d"):
        (folder / style).mkdir()
        for path in sorted((SAMPLE / "train" / style).iterdir())[:20]:
            shutil.copy(path, folder / style)
    return folder


@pytest.fixture(scope="session")
def make_config(emoji):
    """A function (mode, **method settings) -> RunConfig of a tiny run on the emoji."""
    from img2img.training.config import RunConfig

    def make(mode: str, run: dict | None = None, **method):
        if mode == "stargan":
            sources = {"data": emoji}
        else:
            sources = {"a": emoji / "flat", "b": emoji / "3d"}
        settings = {**TINY[mode], "steps": 6, "epochs": None, **method}
        return RunConfig.build(
            {
                "name": f"tiny-{mode}",
                "mode": mode,
                "method": settings,
                "sources": sources,
                **({} if run and "test" in run else {"held_out": 2}),
                "device": "cpu",
                "precision": "fp32",
                "workers": 0,
                "log_every": 2,
                **(run or {}),
            }
        )

    return make


@pytest.fixture(scope="session")
def quiet():
    """A console that nobody sees."""
    import io

    from rich.console import Console

    return Console(file=io.StringIO())


@pytest.fixture(scope="session")
def trained(make_config, quiet, tmp_path_factory):
    """A function mode -> the folder of a finished tiny run, trained once a session."""
    from img2img.training.loop import train
    from img2img.training.plan import make_plan

    runs: dict[str, Path] = {}

    def get(mode: str) -> Path:
        if mode not in runs:
            runs[mode] = tmp_path_factory.mktemp("runs") / f"tiny-{mode}"
            train(make_plan(make_config(mode, ema=0.5), quiet), runs[mode], quiet)
        return runs[mode]

    return get
