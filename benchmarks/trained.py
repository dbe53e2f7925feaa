"""Speed and fidelity of trained models of the authors' widths, as `img2img bench` tells them.

    python examples/emoji/build.py data/emoji --size 128
    python benchmarks/trained.py data/emoji [--runs runs]     # an hour on two cores
    python benchmarks/trained.py data/emoji --write           # results, docs/performance.md's table

Trains what is not there yet, exports it in fp32 and int8, and measures both on held-out pictures.
"""

import argparse
import json
from pathlib import Path

import machine
import page
from command import command

from img2img.files import usable_cores

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "trained-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
SHARED = "--batch 1 --seed 0 --no-check --workers 0 --eval-every 0"
RUNS = {  # name -> the styles of a and b, options
    "full-unet": ("flat", "3d", "--mode pix2pix --size 256 --steps 500"),
    "full-resnet": ("flat", "noto", "--mode cyclegan --size 64 --blocks 9 --steps 1000"),
}


def measured(data: Path, runs: Path) -> list[dict]:
    """A row for every model, precision and provider."""
    rows = []
    for name, (a, b, options) in RUNS.items():
        run = runs / name
        if not run.exists():
            sources = ["--a", str(data / "train" / a), "--b", str(data / "train" / b)]
            named = ["--name", name, "--out", str(runs)]
            command("train", *options.split(), *SHARED.split(), *sources, *named)
        way = ["--direction", "ab"] if "cyclegan" in options else []
        for precision in ("fp32", "int8"):
            command("export", str(run), *way, "--precision", precision)
        pictures = ["--pictures", str(data / "test" / a)]
        said = json.loads(command("bench", str(run), *way, *pictures, "--json"))
        rows += said["models"]
    return rows


def table(result: dict) -> str:
    head = "| model | px | load | p50 | p95 | most | memory | PSNR, mean and worst |"
    lines = [head, "|---" * head.count(" | ") + "|---|"]
    for row in result["models"]:
        near = f"{row['psnr_mean']:.1f} dB, {row['psnr_worst']:.1f}" if row["psnr_mean"] else "-"
        lines.append(
            f"| {row['model']}, {row['precision']} on {row['provider']} | {row['size']} "
            f"| {row['load_seconds']:.2f} s | {1000 * row['latency_p50']:.1f} ms "
            f"| {1000 * row['latency_p95']:.1f} ms | {row['throughput']:.1f}/s by {row['batch']} "
            f"| {row['peak_mib']:,.0f} MiB | {near} |"
        )
    count = result["models"][0]["pictures"]
    return "\n".join(
        [
            *lines,
            "",
            f"{count} held-out pictures. {result['machine']}; {result['date']}; "
            "`benchmarks/trained.py`.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    result = {
        **machine.measured(usable_cores()),
        "models": measured(given.data.resolve(), given.runs.resolve()),
    }
    if given.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        page.fill(PAGE, "trained", table(result))
    print(table(result))


if __name__ == "__main__":
    main()
