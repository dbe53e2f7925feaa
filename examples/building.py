"""What the build scripts share: archives of packages pinned by content, and files written whole.

An archive is only ever read: nothing of a package is installed or run.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image


def npm_archive(package: str, file_name: str, sha256: str, folder: Path) -> Path:
    """`file_name` in `folder`: the archive of NAME@VERSION, got with `npm pack`."""
    npm = shutil.which("npm")
    command = [npm or "npm", "pack", package, "--ignore-scripts", "--loglevel=error"]
    return _archive(command, "Node.js", file_name, sha256, folder)


def pip_archive(package: str, file_name: str, sha256: str, folder: Path) -> Path:
    """`file_name` in `folder`: the wheel of NAME==VERSION, got with `pip download`.

    The wheel may be for another Python and another machine than this one.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"]
    if tags := re.search(r"-cp(\d+)-\w+-([\w.]+)\.whl$", file_name):
        command += ["--implementation", "cp", "--python-version", tags[1]]
        command += [part for platform in tags[2].split(".") for part in ("--platform", platform)]
    return _archive([*command, package], "Python", file_name, sha256, folder)


def deb_archive(package: str, file_name: str, sha256: str, folder: Path) -> Path:
    """`file_name` in `folder`: the Debian package NAME=VERSION, got with `apt-get download`."""
    apt = shutil.which("apt-get")
    return _archive([apt or "apt-get", "-q", "download", package], "apt", file_name, sha256, folder)


def _archive(command: list[str], brings: str, file_name: str, sha256: str, folder: Path) -> Path:
    path = folder / file_name
    if not path.exists():
        shown = f"{Path(command[0]).name} {' '.join(command[1:])}"
        if shutil.which(command[0]) is None:
            sys.exit(
                f"{command[0]} is missing: install {brings}, or put {file_name} into {folder}."
            )
        print(shown, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            done = subprocess.run(command, cwd=temporary, stdout=subprocess.DEVNULL, check=False)
            if done.returncode:
                sys.exit(f"`{shown}` failed; its message is above.")
            if not Path(temporary, file_name).exists():
                files = ", ".join(os.listdir(temporary)) or "nothing"
                sys.exit(f"`{shown}` brought {files} in place of {file_name}.")
            os.replace(Path(temporary, file_name), path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        sys.exit(f"{path} is damaged or another version: delete it and run this again.")
    return path


def save_whole(picture: Image.Image, file: Path) -> None:
    """Write a PNG, whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        picture.save(temporary, "PNG", optimize=True)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_other_settings(out: Path, settings: dict[str, float]) -> None:
    """Stop where an earlier run left pictures of other settings: they would be mixed."""
    file = out / "settings.json"
    if file.exists() and json.loads(file.read_text()) != settings:
        sys.exit(f"{out} was built with {file.read_text().strip()}: choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings) + "\n")
