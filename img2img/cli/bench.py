"""img2img bench: how fast models are here, and how near to each other."""

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import option


def bench(
    models: Annotated[list[str], typer.Argument(help="Bundles, or names of models or runs.")],
    provider: Annotated[
        list[str] | None, option("cpu, cuda, ...; repeat. By default what auto takes.")
    ] = None,
    pictures: Annotated[Path | None, option("Folder of real ones; the sample by default.")] = None,
    size: Annotated[
        int | None, typer.Option(min=8, help="Side, px; as trained by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each timing.")] = 3.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure load time, latency, throughput, memory and fidelity of models.

    Bundles of other precisions beside a model are measured, too; the first one given is what the
    others' pictures are compared with.

    img2img bench flat-to-3d --provider cpu
    """
    import json

    from img2img.cli import stderr_console
    from img2img.evaluate.bench import bench as measure
    from img2img.evaluate.bench import load_pictures
    from img2img.files import pictures as pictures_of
    from img2img.infer.registry import find, shipped
    from img2img.infer.session import load

    console = stderr_console()
    paths = []
    for model in models:
        path = find(model).path
        beside = [path.with_name(f"{path.stem}-{precision}.onnx") for precision in ("fp16", "int8")]
        paths += [path, *(other for other in beside if other.exists())]
    paths = list(dict.fromkeys(paths))
    manifest = load(paths[0], "cpu").manifest
    side = size or manifest.trained_size
    files = pictures_of(pictures or shipped("quickstart") / "test" / "flat")
    real = load_pictures(files, manifest.in_channels, side, 64)
    with console.status(f"measuring {len(paths)} models"):
        rows = measure(paths, provider or ["auto"], real, seconds, threads)
    if as_json:
        print(json.dumps({"size": side, "pictures": len(real), "models": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    names = ("model", "load", "p50", "p95", "most", "memory", "PSNR")
    table = Table(*names, title=f"{side}x{side} px, {len(real)} pictures", box=None)
    for row in rows:
        near = row["psnr_mean"]
        memory = row["peak_mib"]
        table.add_row(
            f"{row['model']}, {row['precision']} on {row['provider']}",
            f"{row['load_seconds']:.2f} s",
            f"{1000 * row['latency_p50']:.1f} ms",
            f"{1000 * row['latency_p95']:.1f} ms",
            f"{row['throughput']:.1f}/s by {row['batch']}",
            "-" if memory is None else f"{memory:,.0f} MiB",
            "-" if near is None else f"{near:.1f} dB, worst {row['psnr_worst']:.1f}",
        )
    Console().print(table)
