"""img2img export: writes the ONNX file of a run."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default in RUN/export.")
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="ab|ba", help="Which direction to export; by default all that the run has."
        ),
    ] = None,
    weights: Annotated[
        Literal["ema", "plain"] | None,
        typer.Option(help="Average of the weights, or plain; by default ema if the run has it."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="best|last|STEP",
            help="Weights with the best held-out distance (the default if one was measured), the "
            "last "
            "ones, or those of a step, for runs trained with --keep.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="fp16 is for GPUs, int8 for CPUs; both are added to the file name."),
    ] = "fp32",
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights",
            help="Store the weights in fp16 and compute in fp32: half the file, the same speed.",
        ),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder to calibrate int8 on, if the run's pictures are not available."),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operator set.")] = 20,
    running_statistics: Annotated[
        bool,
        typer.Option(
            "--running-stats",
            help="Normalize with BatchNorm's running averages, not with each picture's statistics.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export a run to a self-contained model, and compare it with torch on real pictures.

    A CycleGAN has two directions, in two files: NAME-ab.onnx and NAME-ba.onnx.

    img2img export runs/cyclegan-horses-zebras
    """
    from img2img.cli import stderr_console
    from img2img.errors import needs_extra
    from img2img.writing import temporary_folder

    temporary_folder()  # torch's exporter needs it; raises the error where there is none
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
        half_weights,
    )
    if as_json:
        print(json.dumps([{"file": str(path), **parity} for path, parity in written]))
    else:
        for path, parity in written:
            difference = f"at most {parity['max_levels']:.0f} grey levels from torch"
            if precision != "fp32" or half_weights:
                mean, worst = parity["psnr_mean"], parity["psnr_worst"]
                difference += f", PSNR {mean:.1f} dB, worst {worst:.1f}"
            difference += f"; PSNR of bf16 {parity['bf16_psnr_mean']:.1f} dB"
            print(f"{path}  ({difference})")


def _checkpoint(text: str | None) -> Literal["best", "last"] | int | None:
    """The value of --checkpoint: best, last, the number of a step, or None."""
    from img2img.errors import UsageError

    if text is None:
        return None
    if text == "best":
        return "best"
    if text == "last":
        return "last"
    if not text.isdecimal():
        raise UsageError(f"--checkpoint {text}: use best, last or the number of a step.")
    return int(text)
