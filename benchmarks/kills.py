"""What `kill -9` at random moments costs: commands are killed, checked, run again, and compared
with ones that nobody killed.

    python benchmarks/kills.py [--kills 20] [--only train translate] [--seed 0]
    python benchmarks/kills.py --seconds 600 --write    # adds to the table of docs/reliability.md

Half of the kills come at a random time; the others come within some milliseconds after a temporary
file appears, that is, while a checkpoint, a sample, an output or a bundle is written. The commands
run in forks of this process, which has imported torch, so that a kill takes a second and not ten.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads would not survive the fork

import machine
import onnx
import page
import torch
from PIL import Image

import img2img.export.published
import img2img.export.run
import img2img.training.loop  # noqa: F401 (imported once, for all forks)
from img2img import checksum
from img2img.cli import main as command_line
from img2img.errors import DataError
from img2img.files import read_rows
from img2img.training import checkpoint

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "kills.json"
PAGE = ROOT / "docs" / "reliability.md"
SAMPLE = ROOT / "examples" / "quickstart" / "train"
GENERATOR = ROOT / "tests" / "data" / "golden" / "cyclegan" / "init_net_G_B.pth"
MODEL = "flat-noto-ab"
STEPS, PICTURES = 8, 80
TRAIN = [
    *("train", "--mode", "cyclegan", "--a", "flat", "--b", "3d", "--size", "32", "--resize", "36"),
    *("--width", "4", "--blocks", "1", "--d-width", "4", "--d-layers", "2", "--batch", "2"),
    *("--held-out", "2", "--precision", "fp32", "--device", "cpu"),
    *("--workers", "0", "--save-every", "2", "--log-every", "1", "--sample-every", "3"),
    *("--eval-every", "4", "--keep", "all", "--extractor", "none"),
]
IN_FLIGHT = 40  # pictures of translate that may be done and not recorded
AFTER = 0.004  # seconds after a temporary file appears
LOG = "log.txt"  # what the commands print


class Lost(Exception):
    """Something that a kill must not cost."""


class Killer:
    """Runs commands in a folder, and kills them."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.kills, self.while_written = 0, 0
        self.lasts: dict[str, float] = {}  # seconds that a command takes, by its name

    def start(self, arguments: list[str]) -> int:
        """The process of the command."""
        process = os.fork()
        if process:
            return process
        log = os.open(self.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.folder)
        tempfile.tempdir = os.environ["TMPDIR"] = str(self.folder / "tmp")
        sys.argv = ["img2img", *arguments]
        code = 1
        try:
            command_line()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)

    def run(self, arguments: list[str]) -> None:
        """Run the command to its end. Raises Lost if it fails."""
        began = time.monotonic()
        _, status = os.waitpid(self.start(arguments), 0)
        if status:
            told = (self.folder / LOG).read_text().splitlines()[-1:]
            raise Lost(f"img2img {' '.join(arguments)} failed after a kill: {told}")
        self.lasts[arguments[0]] = time.monotonic() - began

    def kill(self, arguments: list[str], places: list[Path]) -> None:
        """Start the command, and kill it at a random moment, or when a temporary file appears in
        one of these folders. It may have ended by then, which does not count.
        """
        process, began = self.start(arguments), time.monotonic()
        aimed = self.random.random() < 0.5
        # Of several files, not always the first one.
        at = self.random.uniform(0, 0.9 * self.lasts[arguments[0]])
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                if status:
                    raise Lost(f"img2img {' '.join(arguments)} failed: see {self.folder / LOG}")
                return
            written = any(_parts(folder) for folder in places) if aimed else False
            if time.monotonic() - began > at and (written or not aimed):
                break
            time.sleep(0.0003)
        if written:
            time.sleep(self.random.uniform(0, AFTER))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        self.kills += 1
        self.while_written += written


def _parts(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".part")]
    except OSError:
        return []


def require_clear(*folders: Path) -> None:
    left = [path for folder in folders for path in folder.rglob("*.part")]
    if left:
        raise Lost(f"temporary files stay: {left}")


def train(killer: Killer) -> Iterator[None]:
    """Training, killed a few times, equals training in one go."""
    killer.run([*TRAIN, "--steps", str(STEPS), "--name", "whole"])
    whole, number = killer.folder / "runs" / "whole", 0
    while True:
        number += 1
        run = killer.folder / "runs" / f"run-{number}"
        command = [*TRAIN, "--steps", str(STEPS), "--name", run.name, "--resume", "auto"]
        places = [run, run / "checkpoints", run / "samples"]
        newest = 0
        for _ in range(killer.random.randint(1, 6)):
            killer.kill(command, places)
            step = _newest_step(run)
            if step < newest:
                raise Lost(f"the checkpoint went back from step {newest} to {step}")
            newest = step
            _require_whole_files(run)
        killer.run(command)
        if not _equal(_state(whole), _state(run)):
            raise Lost(f"{run} differs from {whole}")
        steps = [row["step"] for row in read_rows(run / "metrics.csv")]
        if steps != [str(step) for step in range(1, STEPS + 1)]:
            raise Lost(f"{run}/metrics.csv has the steps {steps}")
        for name in ("samples", "checkpoints"):
            if {p.name for p in (run / name).iterdir()} != {
                p.name for p in (whole / name).iterdir()
            }:
                raise Lost(f"{run / name} has other files than {whole / name}")
        require_clear(run, killer.folder / "tmp")
        shutil.rmtree(run)
        yield


def _newest_step(run: Path) -> int:
    if not checkpoint.exists(run):
        return 0
    return int(checkpoint.load_newest(run, _refuse)[1]["trainer"]["step"])


def _refuse(text: str) -> None:
    raise Lost(text)


def _state(run: Path) -> object:
    return checkpoint.load(run / checkpoint.LAST)["trainer"]


def _equal(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_equal(a, b) for a, b in pairs)
    return first == second


def _require_whole_files(folder: Path) -> None:
    """Every file under a final name can be read."""
    for path in folder.rglob("*") if folder.exists() else ():
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            checkpoint.load_weights(path)
        elif path.suffix == ".pt":
            checkpoint.load(path)
        elif path.suffix in (".png", ".webp"):
            Image.open(path).load()
        elif path.suffix == ".onnx":
            checksum.require_intact(path.read_bytes(), path, "")
            onnx.load(path)


def translate(killer: Killer) -> Iterator[None]:
    """Every output is that of a run that nobody killed, and none is made twice but those in
    flight.
    """
    inputs = killer.folder / "in"
    inputs.mkdir()
    for number in range(PICTURES):
        pixels = random.Random(number).randbytes(32 * 32 * 3)
        Image.frombytes("RGB", (32, 32), pixels).save(inputs / f"{number}.png")
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
        line = next(x for x in (killer.folder / LOG).read_text().splitlines()[::-1] if "{" in x)
        skipped = json.loads(line)["skipped"]
        if done - skipped > IN_FLIGHT:
            raise Lost(f"{done - skipped} outputs were made again")
        if {p.name: p.read_bytes() for p in out.glob("*.png")} != expected:
            raise Lost("the outputs differ")
        require_clear(out, killer.folder / "tmp")
        shutil.rmtree(out)
        yield


def export(killer: Killer) -> Iterator[None]:
    """Both bundles are the old ones, or the new ones."""
    killer.run([*TRAIN, "--name", "model", "--steps", "1"])
    command = ["export", "runs/model"]
    killer.run(command)
    folder = killer.folder / "runs" / "model" / "export"
    while True:
        if killer.random.random() < 0.5:
            shutil.rmtree(folder)
        for _ in range(3):
            before = {p.name for p in folder.glob("*.onnx")}
            killer.kill(command, [folder, killer.folder / "tmp"])
            _require_whole_files(folder)
            if not before <= {p.name for p in folder.glob("*.onnx")}:
                raise Lost("a bundle is gone")
        killer.run(command)
        if len(list(folder.glob("*.onnx"))) != 2:
            raise Lost("a bundle is missing")
        require_clear(folder, killer.folder / "tmp")
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
            _require_whole_files(run)
            shutil.rmtree(run, ignore_errors=True)
        killer.run([*command, "--name", run.name])
        require_clear(killer.folder / "runs", killer.folder / "tmp")
        shutil.rmtree(run)
        yield


KINDS: dict[str, Callable[[Killer], Iterator[None]]] = {
    "train": train,
    "translate": translate,
    "export": export,
    "import": import_,
}


def attack(kind: str, kills: int, seconds: float, seed: int) -> dict[str, object]:
    """Kill commands of this kind, in rounds, until one of the limits is reached."""
    with tempfile.TemporaryDirectory() as name:
        killer = Killer(Path(name), seed)
        (killer.folder / "tmp").mkdir()
        for style in ("flat", "3d"):
            (killer.folder / style).mkdir()
            for path in sorted((SAMPLE / style).iterdir())[:16]:
                shutil.copy(path, killer.folder / style)
        began, lost = time.monotonic(), ""
        try:
            for _ in KINDS[kind](killer):
                if killer.kills >= kills or time.monotonic() - began > seconds:
                    break
        except (Lost, DataError, OSError, ValueError) as error:
            lost = f"{type(error).__name__}: {error}"
        print(f"{kind}: {killer.kills} kills ({killer.while_written} while a file was written); "
              f"lost: {lost or 'nothing'}", flush=True)  # fmt: skip
        return {"kills": killer.kills, "while_written": killer.while_written, "lost": lost}


def _sum(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """The counts of two runs of the script."""
    return {name: one[name] + other[name] for name in one}


def table(results: dict[str, dict[str, object]]) -> str:
    """The table of the page, in the order of KINDS."""
    results = {kind: results[kind] for kind in KINDS if kind in results}
    rows = ["| killed | kills | of these, while a file was written | lost | again |"]
    rows.append("|---|---|---|---|---|")
    for kind, counted in results.items():
        again = f"`python benchmarks/kills.py --only {kind} --kills {counted['kills']}`"
        lost = counted["lost"] or "nothing"
        row = [f"`{kind}`", counted["kills"], counted["while_written"], lost, again]
        rows.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kills", type=int, default=10**6, help="of each command, or a few more")
    parser.add_argument("--seconds", type=float, default=600, help="for all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="the results and the page")
    options = parser.parse_args()
    share = options.seconds / len(options.only)
    results = {kind: attack(kind, options.kills, share, options.seed) for kind in options.only}
    if options.write:
        before = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else {}
        for kind, counted in before.items():  # with other seeds
            results[kind] = _sum(counted, results[kind]) if kind in results else counted
        told = {**machine.measured(1), "results": results}
        RESULTS.write_text(json.dumps(told, indent=2) + "\n")
        text = f"{table(told['results'])}\n\n{told['machine']}; {told['date']}."
        page.fill(PAGE, "kills", text)
    if any(counted["lost"] for counted in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
