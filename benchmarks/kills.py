"""What `kill -9` at random moments costs: commands are killed, checked, run again, and compared
with ones that nobody killed.

    python benchmarks/kills.py [--kills 20] [--only train translate] [--seed 0]
    python benchmarks/kills.py --seconds 600 --write    # adds to the table of docs/reliability.md

Half of the kills come at a random time; the others come within some milliseconds after a temporary
file appears, that is, while a checkpoint, a sample, an output or a bundle is written.
`killer.py` says how commands are run, and the modules kill_*.py what is done to them and checked.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import machine
import page
import psutil
from kill_files import export, import_, scene, translate
from kill_servers import demo, serve, server_workers
from kill_training import data_workers, train
from killer import ROOT, Killer, Lost

from img2img.errors import DataError

RESULTS = ROOT / "benchmarks" / "results" / "kills.json"
PAGE = ROOT / "docs" / "reliability.md"
KINDS: dict[str, Callable[[Killer], Iterator[None]]] = {
    "train": train,
    "data-workers": data_workers,
    "translate": translate,
    "scene": scene,
    "export": export,
    "import": import_,
    "serve": serve,
    "server-workers": server_workers,
    "demo": demo,
}


def attack(kind: str, kills: int, seconds: float, seed: int) -> dict[str, object]:
    """Kill commands of this kind, in rounds, until one of the limits is reached."""
    with tempfile.TemporaryDirectory() as name:
        killer = Killer(Path(name), seed)
        began, lost = time.monotonic(), ""
        try:
            for _ in KINDS[kind](killer):
                if killer.kills >= kills or time.monotonic() - began > seconds:
                    break
        except (Lost, DataError, OSError, ValueError) as error:
            lost = f"{type(error).__name__}: {error}"
        for process in psutil.Process().children(recursive=True):  # of a server that lost something
            process.kill()
        seconds = time.monotonic() - began
        written = f"{killer.while_written} while a file was written"
        told = f"{kind}: {killer.kills} kills ({written}) in {seconds:.0f} s"
        print(f"{told}; lost: {lost or 'nothing'}", flush=True)
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
    rows.append(f"| together | {sum(counted['kills'] for counted in results.values()):,} | | | |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kills", type=int, default=10**6, help="of each command, or a few more")
    parser.add_argument("--seconds", type=float, default=600, help="for all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="the results and the page")
    options = parser.parse_args()
    share, lost = options.seconds / len(options.only), False
    for kind in options.only:
        counted = attack(kind, options.kills, share, options.seed)
        lost = lost or bool(counted["lost"])
        if options.write:
            write(kind, counted)
    if lost:
        raise SystemExit(1)


def write(kind: str, counted: dict[str, object]) -> None:
    """Add the counts to the results, and fill in the page."""
    results = json.loads(RESULTS.read_text())["results"] if RESULTS.exists() else {}
    results[kind] = _sum(results[kind], counted) if kind in results else counted
    told = {**machine.measured(1), "results": results}
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")
    page.fill(PAGE, "kills", f"{table(results)}\n\n{told['machine']}; {told['date']}.")


if __name__ == "__main__":
    main()
