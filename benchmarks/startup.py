"""How long the command line takes to answer, beside Python's own start.

    python benchmarks/startup.py [--json]

Medians of ten runs in turn; the ratio in one run is what counts, times differ between machines.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "img2img --help": ["-m", "img2img", "--help"],
    "import img2img.Translator": ["-c", "from img2img import Translator"],
}


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(11):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = medians["python -c pass"]
    if as_json:
        print(json.dumps({n: {"seconds": s, "ratio": s / base} for n, s in medians.items()}))
        return
    for name, median in medians.items():
        print(f"{name:28} {median:.3f} s  {median / base:5.1f} x Python's start")


if __name__ == "__main__":
    main()
