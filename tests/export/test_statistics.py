"""Whether a BatchNorm had better go by the picture or by the running averages, told at export."""

import io
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from rich.console import Console

from img2img import images
from img2img.data.paired import Pairs
from img2img.data.sources import Sources
from img2img.errors import DataError
from img2img.export import statistics
from img2img.export.graph import Pixels, load_run
from img2img.export.run import export_run
from img2img.files import find_pictures
from img2img.intensity import Intensity
from img2img.training.loop import train
from img2img.training.plan import make_plan


@pytest.fixture(scope="module")
def batched(make_config, quiet, tmp_path_factory, emoji):
    """A run with BatchNorm at batch 4, on pictures of its own that may be deleted."""
    run = tmp_path_factory.mktemp("runs") / "batched"
    shutil.copytree(emoji, run.parent / "emoji")
    sources = {"a": run.parent / "emoji" / "flat", "b": run.parent / "emoji" / "3d"}
    config = make_config("pix2pix", {"sources": sources}, batch=4, norm="batch")
    train(make_plan(config, quiet), run, quiet)
    return run


def told(run, **options) -> str:
    console = Console(file=io.StringIO(), width=1000)
    export_run(run, console, run.parent / "m.onnx", **options)
    return console.file.getvalue()


@pytest.mark.parametrize("running", [False, True])
def test_both_are_measured_on_held_out_pairs(running, batched):
    line = told(batched, running_statistics=running)
    assert "BatchNorm at batch 4. On 2 held-out pairs: " in line
    assert "with the statistics of each picture" in line
    assert "with the running averages" in line
    assert "--running-stats" in line or "the exported ones are better" in line


@pytest.mark.parametrize("kind", ["image", "running"])
def test_the_figures_are_those_of_the_truth(kind, batched, emoji, tmp_path):
    """Where the truths are what the network makes with one kind, that kind has no error."""
    config, method, _ = load_run(batched)
    spec, size = method.exports()["ab"], config.method.size
    pixels = Pixels(replace(spec, statistics=kind)).eval()
    for name in "ab":
        (tmp_path / name).mkdir()
    for path in list(find_pictures(emoji / "flat"))[:3]:
        picture = images.resize(images.read(path).pixels, *size)
        with torch.no_grad():
            truth = pixels(torch.from_numpy(picture.copy())[None])[0].numpy()
        Image.fromarray(picture).save(tmp_path / "a" / f"{path.stem}.png")
        Image.fromarray(truth).save(tmp_path / "b" / f"{path.stem}.png")
    pairs = Pairs.open(Sources(a=tmp_path / "a", b=tmp_path / "b"), (3, 3))
    found = statistics.compare(spec, config.method, pairs)
    assert found.pairs == 3
    near, far = (found.image, found.running)[:: 1 if kind == "image" else -1]
    assert near == (100.0, 0.0)
    assert far[0] < 60
    assert far[1] > 0.1


def test_missing_truths_are_not_compared(batched, monkeypatch):
    """Where half of a truth is missing, the middle of its range stands there."""
    config, method, _ = load_run(batched)
    intensity = Intensity(dtype="float32", bands=("1",) * 3, low=(-1,) * 3, high=(1,) * 3)
    spec = replace(method.exports()["ab"], intensity_out=intensity)
    pixels = Pixels(replace(spec, statistics="image")).eval()
    a = torch.randint(0, 256, (2, *config.method.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        b = torch.stack([pixels(picture[None])[0] for picture in a])
    valid = torch.ones(*b.shape[:3], 1)
    valid[:, :20] = 0
    b[:, :20] = 0
    batch = {"a": a, "b": b, "b_valid": valid}
    image = replace(spec, statistics="image")
    assert statistics._distances(image, batch)[0] > 90
    assert statistics._distances(image, {"a": a, "b": b})[0] < 60
    with pytest.raises(DataError, match="no pixel with a value"):
        statistics._distances(image, batch | {"b_valid": valid * 0})


@pytest.mark.parametrize(
    ("image", "running", "exported", "advice"),
    [
        ((18.0, 20.0), (20.5, 15.0), False, "export again with --running-stats."),
        ((18.0, 20.0), (20.5, 15.0), True, "the exported ones are better."),
        ((21.0, 14.0), (20.5, 15.0), False, "the exported ones are better."),
        ((21.0, 14.0), (20.5, 15.0), True, "export again without --running-stats."),
    ],
)
def test_the_better_is_named(image, running, exported, advice):
    line = statistics.Comparison(16, image, running).advice(8, exported)
    assert (
        f"{image[0]:.1f} dB, L1 {image[1]:.1f} grey levels with the statistics of each picture"
        in line
    )
    assert f"{running[0]:.1f} dB, L1 {running[1]:.1f} grey levels with the running" in line
    assert line.endswith(advice)


def test_at_batch_one_and_without_batch_norm_nothing_is_said(trained, make_config, quiet, tmp_path):
    assert "BatchNorm" not in told(trained("cyclegan"), direction="ab")
    config = make_config("pix2pix", batch=1, norm="batch", steps=1)
    train(make_plan(config, quiet), tmp_path / "one", quiet)
    assert "BatchNorm" not in told(tmp_path / "one")


def test_without_the_pictures_it_says_that_it_can_not_tell(batched, monkeypatch):
    def gone(*_):
        raise DataError("There is no folder.")

    monkeypatch.setattr("img2img.export.run._split", gone)
    line = told(batched)
    assert "Without held-out pairs" in line
    assert "--running-stats" in line
