"""Damaged and made-up files and requests, guided by the lines of Python that they reach.

    pip install atheris
    python benchmarks/fuzz.py [--only tiff zip] [--minutes 5]
    python benchmarks/fuzz.py --minutes 60 --write    # adds to the table of docs/reliability.md

Each target of tests/fuzz runs in a process of its own, from the files of its corpus on. A case
that raises an error that is no refusal, ends the process, or takes longer than 10 s or more than
2 GiB is kept with its log in TMPDIR/img2img-fuzz, and the target is started again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import page

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
FAILED = Path(tempfile.gettempdir(), "img2img-fuzz")  # cases and logs
PAGE = ROOT / "docs" / "reliability.md"
LARGEST = 2**15  # bytes of a case
RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", re.MULTILINE)
PEAK = re.compile(r"rss: (\d+)Mb")
# Whose lines guide the cases, beside those of img2img.
GUIDED = ["h11", "nibabel", "PIL", "pydicom", "python_multipart", "starlette", "tifffile", "yaml"]


def cases(name: str, arguments: list[str]) -> None:
    """Make cases of one target until libFuzzer ends the process. This runs in a process alone."""
    import atheris

    with atheris.instrument_imports(include=["img2img", *GUIDED]):
        from fuzz.targets import CORPUS, TARGETS

        target = TARGETS[name]
        target.accepts(next(iter((CORPUS / name).iterdir())).read_bytes())  # imports what it needs
    atheris.Setup([sys.argv[0], *arguments], lambda content: target.accepts(content) and None)
    atheris.Fuzz()


def fuzz(name: str, seconds: float) -> dict[str, float]:
    """Make cases of one target for so long. Returns the counts."""
    from fuzz.scratch import place
    from fuzz.targets import CORPUS, LONGEST, MOST_MEMORY

    counts = {"cases": 0, "seconds": 0.0, "failed": 0, "peak_mib": 0}
    FAILED.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # libFuzzer ends its process without cleaning up.
    with tempfile.TemporaryDirectory(dir=place()) as folder:
        environment, reached = {**os.environ, "TMPDIR": folder}, Path(folder, "reached")
        reached.mkdir()
        while (left := seconds - (time.monotonic() - began)) > 1:
            options = {
                "max_total_time": max(1, int(left)),
                "timeout": int(LONGEST),
                "rss_limit_mb": MOST_MEMORY,
                "max_len": LARGEST,
                "artifact_prefix": f"{FAILED}/{name}-",
                "print_final_stats": 1,
            }
            line = [sys.executable, __file__, "--target", name, str(reached), str(CORPUS / name)]
            line += [f"-{option}={value}" for option, value in options.items()]
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            done = subprocess.run(line, env=environment, **streams)
            log = done.stdout.decode(errors="replace")
            counts["cases"] += max([int(a or b) for a, b in RUNS.findall(log)], default=0)
            counts["peak_mib"] = max([counts["peak_mib"], *map(int, PEAK.findall(log))])
            if done.returncode:
                counts["failed"] += 1
                (FAILED / f"{name}-{counts['failed']}.log").write_text(log[-20_000:])
                print(f"{name} failed: see {FAILED / name}-{counts['failed']}.log", flush=True)
    counts["seconds"] = time.monotonic() - began
    return counts


def table(results: dict) -> str:
    rows = ["| front | cases | minutes | failed | largest process |", "|---|---|---|---|---|"]
    for name, counts in results["targets"].items():
        rows.append(
            f"| {name} | {counts['cases']:,} | {counts['seconds'] / 60:.0f} "
            f"| {counts['failed'] or 'none'} | {counts['peak_mib']:,} MiB |"
        )
    total = sum(counts["cases"] for counts in results["targets"].values())
    made = f"{results['machine']}; {results['date']}."
    return "\n".join([*rows, f"| all | {total:,} | | | |", "", made])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--write", action="store_true", help="add to docs/reliability.md")
    given = parser.parse_args()
    from fuzz.targets import TARGETS

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"targets": {}}
    for name in given.only or TARGETS:
        counts = fuzz(name, 60 * given.minutes)
        print(name, json.dumps(counts), flush=True)
        if given.write:
            before = results["targets"].get(name, dict.fromkeys(counts, 0))
            total = {key: counts[key] + before[key] for key in counts}
            total["peak_mib"] = max(counts["peak_mib"], before["peak_mib"])
            results["targets"][name] = total
            results |= machine.measured(1)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            page.fill(PAGE, "fuzz", table(results))


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))  # before the folder of this file, which has the same name
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    if sys.argv[1:2] == ["--target"]:
        cases(sys.argv[2], sys.argv[3:])
    else:
        main()
