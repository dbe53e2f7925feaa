"""Kills of commands that write files: `translate`, `export` and `import`, for `kills.py`."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kill_training import TRAIN
from killer import ROOT, Killer, Lost, require_clear, require_empty, require_whole_files
from PIL import Image

from img2img.infer import scene_translate
from img2img.infer.scene import Scene
from img2img.infer.tile import Canvas, Picture, Progress, Tiler

GENERATOR = ROOT / "tests" / "data" / "golden" / "cyclegan" / "init_net_G_B.pth"
MODEL = "flat-noto-ab"
PICTURES = 80
IN_FLIGHT = 40  # pictures of translate that may be done and not recorded
SIDE, TILE = 448, 64  # px, of the scene and of its tiles
SAVE_EVERY = 0.02  # seconds between the saves of a scene, which are 10 otherwise


def translate(killer: Killer) -> Iterator[None]:
    """Every output is that of a run that nobody killed, and none is made twice but those in
    flight.
    """
    inputs = killer.folder / "in"
    inputs.mkdir()
    for number in range(PICTURES):
        _noise(number, 32).save(inputs / f"{number}.png")
    command = ["translate", "in", "-m", MODEL, "--provider", "cpu", "--threads", "1"]
    killer.run([*command, "-o", "whole"])
    expected = {p.name: p.read_bytes() for p in (killer.folder / "whole").glob("*.png")}
    out = killer.folder / "out"
    while True:
        done = 0
        for _ in range(killer.random.randint(1, 4)):
            killer.kill([*command, "-o", "out"], [out])
            there = {p.name: p.read_bytes() for p in out.glob("*.png")}
            if any(expected[name] != content for name, content in there.items()):
                raise Lost("an output differs")
            if len(there) < done:
                raise Lost(f"of {done} outputs, {len(there)} are left")
            done = len(there)
        killer.run([*command, "-o", "out", "--json"])
        line = next(line for line in killer.log[::-1] if "{" in line)
        skipped = json.loads(line)["skipped"]
        if done - skipped > IN_FLIGHT:
            raise Lost(f"{done - skipped} outputs were made again")
        if {p.name: p.read_bytes() for p in out.glob("*.png")} != expected:
            raise Lost("the outputs differ")
        require_clear(out)
        require_empty(killer.scratch)
        shutil.rmtree(out)
        yield


def scene(killer: Killer) -> Iterator[None]:
    """A picture that is translated in parts equals one of a run that nobody killed, and no step of
    it is made again that was saved.
    """
    killer.run([*TRAIN, "--name", "model", "--steps", "1", "--extractor", "none"])
    killer.run(["export", "runs/model"])
    _noise(0, SIDE).save(killer.folder / "scene.tif")
    command = ["translate", "scene.tif", "-m", "runs/model", "--direction", "ab"]
    command += ["--provider", "cpu", "--threads", "1", "--max-pixels", "1", "--tile", str(TILE)]
    steps = killer.folder / "steps.jsonl"
    prepare = _recording(steps)
    killer.run([*command, "-o", "whole"], prepare)
    steps.unlink()
    expected = (killer.folder / "whole" / "scene.tif").read_bytes()
    target = killer.folder / "out" / "scene.tif"
    work = Scene((), target, "").folder
    while True:
        for _ in range(killer.random.randint(1, 5)):
            killer.kill([*command, "-o", "out"], [target.parent, work], prepare)
            if target.exists() and target.read_bytes() != expected:
                raise Lost(f"{target} differs")
        killer.run([*command, "-o", "out"], prepare)
        _require_no_step_again(steps)
        if target.read_bytes() != expected:
            raise Lost(f"{target} differs")
        require_clear(target.parent)
        require_empty(killer.scratch)
        if work.exists():
            raise Lost(f"{work} stays")
        shutil.rmtree(target.parent)
        steps.unlink()
        yield


def _recording(path: Path) -> Callable[[], None]:
    """A function for a fork, which then saves the state of scenes often, and writes down from where
    it begins, and how far it was at each save: the number of norms, and of tiles after them.
    """

    def tell(kind: str, norms: int, tile: int) -> None:
        with path.open("a") as file:
            file.write(json.dumps([kind, norms, tile]) + "\n")

    def prepare() -> None:
        scene_translate.SAVE_EVERY = SAVE_EVERY
        steps, save_state = Tiler.steps, Scene.save_state

        def begun(
            tiler: Tiler, picture: Picture, canvas: Canvas, domain: np.ndarray, progress: Progress
        ) -> Iterator[None]:
            tell("begun", len(progress.statistics), progress.tile)
            yield from steps(tiler, picture, canvas, domain, progress)

        def saved(scene: Scene, state: dict[str, Any]) -> None:
            save_state(scene, state)
            progress = Progress.of_dict(state["progress"])
            tell("saved", len(progress.statistics), progress.tile)

        Tiler.steps, Scene.save_state = begun, saved

    return prepare


def _require_no_step_again(path: Path) -> None:
    """Raises Lost where a run begins before what an earlier one has saved."""
    newest = [0, 0]
    for line in path.read_text().splitlines():
        kind, *done = json.loads(line)
        if done < newest:
            raise Lost(f"a scene goes on from {done}, and {newest} were saved")
        newest = done if kind == "saved" else newest


def export(killer: Killer) -> Iterator[None]:
    """Both bundles are the old ones, or the new ones."""
    killer.run([*TRAIN, "--name", "model", "--steps", "1", "--extractor", "none"])
    command = ["export", "runs/model"]
    killer.run(command)
    folder = killer.folder / "runs" / "model" / "export"
    while True:
        if killer.random.random() < 0.5:
            shutil.rmtree(folder)
        for _ in range(3):
            before = {p.name for p in folder.glob("*.onnx")}
            killer.kill(command, [folder, killer.scratch])
            require_whole_files(folder)
            if not before <= {p.name for p in folder.glob("*.onnx")}:
                raise Lost("a bundle is gone")
        killer.run(command)
        if len(list(folder.glob("*.onnx"))) != 2:
            raise Lost("a bundle is missing")
        require_clear(folder)
        require_empty(killer.scratch)
        yield


def import_(killer: Killer) -> Iterator[None]:
    """The run is there with its bundle, or its name is free."""
    command = ["import", str(GENERATOR)]
    killer.run([*command, "--name", "whole"])
    run = killer.folder / "runs" / "imported"
    while True:
        for _ in range(3):
            killer.kill([*command, "--name", run.name], [killer.folder / "runs"])
            whole = {"config.json", "weights.safetensors", "README.md", "export"}
            if run.exists() and {path.name for path in run.iterdir()} != whole:
                raise Lost(f"{run} is there in part")
            require_whole_files(run)
            shutil.rmtree(run, ignore_errors=True)
        killer.run([*command, "--name", run.name])
        require_clear(killer.folder / "runs")
        require_empty(killer.scratch)
        shutil.rmtree(run)
        yield


def _noise(seed: int, side: int) -> Image.Image:
    pixels = random.Random(seed).randbytes(side * side * 3)
    return Image.frombytes("RGB", (side, side), pixels)
