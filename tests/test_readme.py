"""The README's commands exist, and CI runs exactly the one that it gives for the tests."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("img2img ")
]


@cache
def printed(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "img2img", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return done.stdout


def help_of(command: str) -> str:
    """The command's help; for train, also the settings of two methods, which are options too."""
    modes = ("cyclegan", "pix2pix") if command == "train" else ()
    settings = [printed("train", "--list-settings", "--mode", mode) for mode in modes]
    return "".join([printed(command, "--help"), *settings])


@pytest.mark.parametrize("line", COMMANDS)
def test_command_of_the_readme_has_the_options_it_uses(line):
    _, command, *arguments = shlex.split(line, comments=True)
    for argument in arguments:
        if argument.startswith("-"):
            assert re.search(rf"(^|\s|,){re.escape(argument)}\s", help_of(command)), argument


def test_ci_runs_the_readmes_test_command():
    [tests] = [block.strip() for block in BLOCKS if "pytest" in block]
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()


def test_pictures_of_the_readme_are_there():
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file()
