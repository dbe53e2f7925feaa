"""Commands that are started, killed and run again, for `kills.py`.

They run in forks of this process, which has imported what they need, so that a kill takes a second
and not ten; some start Python anew, so that no fork can hide what that does.
"""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads would not survive the fork

import onnx
from PIL import Image

import img2img.export.published
import img2img.export.run
import img2img.training.loop  # noqa: F401 (imported once, for all forks)
from img2img import checksum
from img2img.cli import main as command_line
from img2img.training import checkpoint

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "quickstart" / "train"
AFTER = 0.004  # seconds after a temporary file appears
ANEW = 0.04  # the share of kills of which Python is started anew
IMPORTS = "import onnxruntime, torch, img2img.training.loop, img2img.cli.train"
LOG = "log.txt"  # what the commands print
MODULES = "modules.txt"  # the names of those that a command has imported
TORCH = "torchinductor_"  # the start of the name of a folder that torch keeps in TMPDIR


class Lost(Exception):
    """Something that a kill must not cost."""


class Killer:
    """Runs commands in a folder, and kills them."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.kills, self.while_written = 0, 0
        self.lasts: dict[str, float] = {}  # seconds that a command takes in a fork, by its name
        self.imports = 0.0  # seconds that Python takes to start, once it was measured
        self.scratch.mkdir()
        for style in ("flat", "3d"):
            (folder / style).mkdir()
            for path in sorted((SAMPLE / style).iterdir())[:16]:
                shutil.copy(path, folder / style)

    @property
    def scratch(self) -> Path:
        """TMPDIR of the commands."""
        return self.folder / "tmp"

    @property
    def log(self) -> list[str]:
        """The lines that the commands have printed."""
        return (self.folder / LOG).read_text(errors="replace").splitlines()

    def start(
        self, arguments: list[str], prepare: Callable[[], None] | None = None, anew: bool = False
    ) -> int:
        """The process of the command. prepare: is called in the fork first. anew: start Python, and
        don't fork.
        """
        process = os.fork()
        if process:
            return process
        log = os.open(self.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.folder)
        tempfile.tempdir = os.environ["TMPDIR"] = str(self.scratch)
        if anew:
            os.environ["PYTHONPATH"] = str(ROOT)
            os.execv(sys.executable, [sys.executable, "-m", "img2img", *arguments])
        sys.argv = ["img2img", *arguments]
        code = 1
        try:
            if prepare:
                prepare()
            command_line()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            (self.folder / MODULES).write_text("\n".join(sys.modules))
            os._exit(code)

    def run(self, arguments: list[str], prepare: Callable[[], None] | None = None) -> None:
        """Run the command to its end. Raises Lost if it fails."""
        began = time.monotonic()
        _, status = os.waitpid(self.start(arguments, prepare), 0)
        if status:
            raise Lost(f"img2img {' '.join(arguments)} failed after a kill: {self.log[-1:]}")
        self.lasts[arguments[0]] = time.monotonic() - began
        for name in (self.folder / MODULES).read_text().split():
            if name not in sys.modules:  # imported once, for all later forks
                with suppress(Exception):  # made by a program, such as those of annotations
                    importlib.import_module(name)

    def kill(
        self,
        arguments: list[str],
        places: list[Path],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start the command, and kill it at a random moment, or when a temporary file appears in
        one of these folders. It may have ended by then, which does not count.
        """
        anew = not prepare and self.random.random() < ANEW
        aimed = self.random.random() < 0.5
        # Of several files, not always the first one.
        at = self.random.uniform(0, 0.9 * self.lasts[arguments[0]])
        if anew and not aimed:
            at += self.random.uniform(0, self.start_of_python())
        process, began = self.start(arguments, prepare, anew), time.monotonic()
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                if status:
                    raise Lost(f"img2img {' '.join(arguments)} failed: {self.log[-1:]}")
                return
            written = any(_parts(folder) for folder in places) if aimed else False
            if time.monotonic() - began > at and (written or not aimed):
                break
            time.sleep(0.0003)
        if written:
            time.sleep(self.random.uniform(0, AFTER))
        self.end(process)
        self.while_written += written

    def end(self, process: int) -> None:
        """Kill a child, and count that."""
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        self.kills += 1

    def start_of_python(self) -> float:
        """Seconds until what the commands import is imported."""
        if not self.imports:
            began = time.monotonic()
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=environment)
            self.imports = time.monotonic() - began
        return self.imports


def _parts(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".part")]
    except OSError:
        return []


def require_clear(*folders: Path) -> None:
    """Raises Lost for temporary files in these folders."""
    left = [path for folder in folders for path in folder.rglob("*.part")]
    if left:
        raise Lost(f"temporary files stay: {left}")


def require_empty(folder: Path) -> None:
    """Raises Lost for any file in TMPDIR but torch's folder."""
    if left := [name for name in os.listdir(folder) if not name.startswith(TORCH)]:
        raise Lost(f"{folder} keeps {left}")


def require_whole_files(folder: Path) -> None:
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
