"""img2img export: a run becomes one ONNX file."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; by default in RUN/export.")
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="ab|ba", help="Which direction to export; by default all that the run has."
        ),
    ] = None,
    weights: Annotated[
        Literal["ema", "plain"] | None, typer.Option(help="By default ema if the run has it.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="best|last|STEP",
            help="By default best, by its held-out distance, where one was measured; STEP: of a "
            "run that was trained with --keep.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="fp16 for GPUs, int8 for CPUs; their file names say so."),
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Pictures for int8, where the run's own are not here."),
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set.")] = 20,
    running_statistics: Annotated[
        bool,
        typer.Option(
            "--running-stats", help="Normalise by BatchNorm's running averages, not the picture's."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a self-contained model, and check it against torch on real pictures.

    Two directions (CycleGAN) become two files, NAME-ab.onnx and NAME-ba.onnx.
    """
    from img2img.cli import stderr_console
    from img2img.errors import needs_extra

    try:
        from img2img.export.run import export_run
    except ImportError as error:
        raise needs_extra("train", error) from None
    import json

    written = export_run(
        run,
        stderr_console(),
        output,
        direction,
        weights,
        opset,
        running_statistics,
        _checkpoint(checkpoint),
        precision,
        calibration,
    )
    if as_json:
        print(json.dumps([{"file": str(path), **parity} for path, parity in written]))
    else:
        for path, parity in written:
            near = f"at most {parity['max_levels']:.0f} grey levels from torch"
            if precision != "fp32":
                mean, worst = parity["psnr_mean"], parity["psnr_worst"]
                near += f", PSNR {mean:.1f} dB, worst {worst:.1f}"
            near += f"; bf16 {parity['bf16_psnr_mean']:.1f} dB from that"
            print(f"{path}  ({near})")


def _checkpoint(text: str | None) -> Literal["best", "last"] | int | None:
    """best, last or the number of a step."""
    from img2img.errors import UsageError

    if text is None:
        return None
    if text == "best":
        return "best"
    if text == "last":
        return "last"
    if not text.isdecimal():
        raise UsageError(f"--checkpoint {text}: write best, last or the number of a step.")
    return int(text)
