"""img2img bench: the speed, memory and accuracy of a model, by precision and provider."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from img2img.cli.options import option


def bench(
    models: Annotated[list[str], typer.Argument(help="Model files, or names of models or runs.")],
    provider: Annotated[
        list[str] | None,
        option("cpu, cuda, ...; repeatable. By default all that work here, except tensorrt."),
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("For a model with two directions.")
    ] = None,
    pictures: Annotated[
        Path | None, option("Folder of pictures to run. Default: the shipped sample.")
    ] = None,
    size: Annotated[
        str | None,
        option("Size of the pictures, px: 256, or width x height as 512x256. Default: as trained."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of each timing.")] = 3.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the load time, latency, throughput, memory and accuracy of models.

    Files of the same model in other precisions are measured, too; accuracy is the PSNR against fp32
    on the first provider.

    img2img bench flat-to-3d --provider cpu
    """
    import json

    from img2img.cli import stderr_console
    from img2img.errors import UsageError
    from img2img.evaluate.bench import bench as measure
    from img2img.evaluate.bench import load_pictures
    from img2img.files import pictures as pictures_of
    from img2img.infer.registry import find, shipped
    from img2img.infer.session import binding, load
    from img2img.sizes import Size

    try:
        given = Size.of(size) if size else None
    except ValueError as error:
        raise UsageError(f"--size {error}.") from None
    if given and min(given) < 8:
        raise UsageError("--size: no side may be under 8 px.")
    console = stderr_console()
    files = pictures_of(pictures or shipped("quickstart") / "test" / "flat")
    families = dict.fromkeys(_family(find(model, direction).path) for model in models)
    rows = []
    for family in families:
        manifest = load(family[0], "cpu").manifest
        wanted = given or manifest.trained_size
        channels, values = manifest.in_channels, manifest.intensity_in
        real = load_pictures(files, channels, wanted, 64, values)
        providers = provider or binding(*family)
        with console.status(f"measuring {', '.join(path.stem for path in family)}"):
            measured = measure(family, providers, real, seconds, threads, manifest.intensity_out)
        rows += [{**row, "size": wanted.plain, "pictures": len(real)} for row in measured]
    if as_json:
        print(json.dumps({"models": rows}, indent=2))
        return
    from rich.table import Table

    from img2img.cli import stdout_console

    table = Table("model", "px", "load", "p50", "p95", "most", "memory", "PSNR", box=None)
    for row in rows:
        accuracy = row["psnr_mean"]
        memory = row["peak_mib"]
        table.add_row(
            f"{row['model']}, {row['precision']} on {row['provider']}",
            str(row["size"]),
            f"{row['load_seconds']:.2f} s",
            f"{1000 * row['latency_p50']:.1f} ms",
            f"{1000 * row['latency_p95']:.1f} ms",
            f"{row['throughput']:.1f}/s by {row['batch']}",
            "-" if memory is None else f"{memory:,.0f} MiB",
            "-" if accuracy is None else f"{accuracy:.1f} dB, worst {row['psnr_worst']:.1f}",
        )
    stdout_console().print(table)


def _family(path: Path) -> tuple[Path, ...]:
    """A model's files in all precisions, fp32 first where it exists."""
    from img2img.infer.session import load

    stem = path.stem.removesuffix(f"-{load(path, 'cpu').manifest.precision}")
    names = (f"{stem}{precision}{path.suffix}" for precision in ("", "-fp16", "-int8"))
    return tuple(p for p in map(path.with_name, names) if p == path or p.exists())
