"""Damaged files and requests are refused in the declared errors alone, in bounded time.

`benchmarks/fuzz.py` makes many more cases of them, guided by the lines that they reach.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fuzz.targets import CORPUS, LONGEST, TARGETS
from img2img.infer import openvino

pytestmark = pytest.mark.filterwarnings("ignore")  # of decoders, about damaged files
SOME, MANY = 40, 20_000  # cases of each file, in every run and with -m slow
LARGEST = 200_000  # bytes of all files of the corpus
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
NUMBERS = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x7f", b"\x80\0\0\0"]


def of(path: Path) -> str:
    return path.relative_to(CORPUS).as_posix()


def target_of(path: Path):
    name = path.parent.name
    if name == "openvino" and not openvino.is_installed():
        pytest.skip("OpenVINO is not installed")
    return TARGETS[name]


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, with a part doubled, or with bytes or numbers replaced, most often near the start."""
    kind, changed = random.integers(5), bytearray(content)
    if kind == 0:
        return content[: random.integers(len(content))]
    if kind == 1:
        begin, end = sorted(random.integers(len(content), size=2))
        return content[:end] + content[begin:]
    near = min(len(content), 600) if kind > 2 else len(content)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(near))
        if kind == 4:
            changed[at : at + 4] = random.choice(NUMBERS)
        else:
            changed[at] = random.integers(256)
    return bytes(changed)


def cases(path: Path, count: int) -> Iterator[bytes]:
    content = path.read_bytes()
    for seed in range(count):
        yield damaged(content, np.random.default_rng([seed, len(content)]))


def require_handled(path: Path, count: int) -> None:
    target = target_of(path)
    for number, content in enumerate(cases(path, count)):
        began = time.monotonic()
        try:
            target.accepts(content)
        except Exception as error:
            error.add_note(f"Case {number} of {path}: {content!r}")
            raise
        assert time.monotonic() - began < LONGEST


def test_the_corpus_is_small_and_has_files_for_every_target():
    assert sum(path.stat().st_size for path in FILES) < LARGEST
    assert {path.parent.name for path in FILES} == TARGETS.keys()


@pytest.mark.parametrize("path", FILES, ids=of)
def test_files_are_taken_and_those_that_once_failed_are_refused(path):
    """Cases made of files that are refused would test little."""
    assert target_of(path).accepts(path.read_bytes()) != path.name.startswith("refused-")


@pytest.mark.parametrize("path", FILES, ids=of)
def test_damaged_files_are_refused(path):
    require_handled(path, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=of)
def test_many_damaged_files_are_refused(path):
    require_handled(path, MANY)
