"""img2img evaluate: how good translations are, in numbers that carry their protocol."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from img2img.cli.options import option


def evaluate(
    real: Annotated[Path | None, option("Folder of real pictures.")] = None,
    fake: Annotated[Path | None, option("Folder of translated ones.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="In place of --fake: translate --a.")
    ] = None,
    a: Annotated[Path | None, option("Folder that the model translates.")] = None,
    b: Annotated[Path | None, option("The real pictures; the same as --real.")] = None,
    direction: Annotated[Literal["ab", "ba"] | None, option("Where the model has two.")] = None,
    to: Annotated[str | None, option("Target domain.")] = None,
    metrics: Annotated[str, option("Names with commas; all that make sense by default.")] = "",
    extractor: Annotated[
        Literal["auto", "inception", "efficientnet-lite0"], option("Network behind the distances.")
    ] = "auto",
    weights: Annotated[Path | None, option("File of Inception's weights.")] = None,
    seed: Annotated[int, option("Of the bootstrap.")] = 0,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for the intervals.")] = 200,
    csv: Annotated[Path | None, option("Write the numbers to this file, too.")] = None,
    report: Annotated[Path | None, option("Write an HTML page with pictures to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure translations against real pictures, and against their truths where names match.

    img2img evaluate --real photos --fake out\n
    img2img evaluate -m flat-to-3d --a flat --b 3d
    """
    import json

    from img2img.cli import stderr_console
    from img2img.errors import UsageError, needs_extra

    target = real or b
    if not target or (real and b) or bool(fake) == bool(model) or bool(model) != bool(a):
        raise UsageError("Give --real DIR with --fake DIR, or --model M with --a DIR and --b DIR.")
    try:
        from img2img.evaluate.report import evaluation_page
        from img2img.evaluate.run import Fakes
        from img2img.evaluate.run import evaluate as measure
    except ImportError as error:
        raise needs_extra("eval", error) from None
    from img2img.files import write_whole
    from img2img.infer.translator import Translator

    fakes = Fakes(a or fake, Translator(model, "auto", direction) if model else None, to)
    wanted = [name.strip() for name in metrics.split(",") if name.strip()]
    console = stderr_console()
    result = measure(target, fakes, console, extractor, weights, wanted, seed, bootstrap)
    if csv:
        _write_csv(csv, result)
    if report:
        write_whole(report, evaluation_page(result, fakes, target))
        console.print(f"see {report}")
    if as_json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        _show(result)


def _show(result: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", "better", "pictures")
    for metric in result.metrics:
        interval = "-" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}"
        value, count = f"{metric.value:.4g}", f"{metric.pictures:,}"
        table.add_row(metric.name, value, interval, metric.better, count)
    Console().print(table)
    for name, reason in result.left_out.items():
        print(f"left out: {name} ({reason})")
    print("; ".join(f"{key}: {value}" for key, value in result.protocol.items()))


def _write_csv(path: Path, result: Any) -> None:
    import csv
    import io

    from img2img.files import write_whole

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    names = ("name", "value", "low", "high", "better", "pictures")
    writer.writerow([*names, *result.protocol])
    for metric in result.metrics:
        row = (metric.name, metric.value, metric.low, metric.high, metric.better, metric.pictures)
        writer.writerow([*row, *result.protocol.values()])
    write_whole(path, buffer.getvalue())
