"""What the authors' code computed, against ours: the comparisons of docs/parity.py."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _script():
    path = Path(__file__).parents[2] / "docs" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


parity = _script()


@pytest.mark.parametrize("case", parity.CASES)
def test_ours_is_the_authors(case):
    rows = list(parity.CASES[case]())
    assert rows
    for row in rows:
        assert row.difference <= row.allowed, row


def test_a_difference_is_seen():
    rows = [parity.worst("x", [(1.0, 1.0), (2.0, 2.00001)], 1e-6)]
    assert rows[0].authors == 2.0
    assert rows[0].difference == pytest.approx(5e-6)
