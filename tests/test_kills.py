"""A handful of the kills of benchmarks/kills.py, which takes as many as one wants."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked and killed")
def test_a_few_kills_cost_nothing(tmp_path):
    line = [sys.executable, SCRIPT, "--only", "train", "translate", "--kills", "2", "--seed", "3"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("lost: nothing") == 2
