"""img2img info: the manifest of a model."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from img2img.intensity import Intensity
    from img2img.manifest import Manifest


def info(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a model or run.")],
    direction: Annotated[
        Literal["ab", "ba"] | None, typer.Option(help="For a model with two directions.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what a model translates, how it was trained, and how exact its export is.

    img2img info flat-to-3d
    """
    import json

    from img2img.cli import stdout_console
    from img2img.infer import registry, session

    entry = registry.find(model, direction)
    loaded = session.load(entry.path, "cpu")
    manifest = loaded.manifest
    registry.require_direction(direction, manifest.direction, entry.path)
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json"), indent=2))
        return
    from rich.table import Table

    inputs = manifest.intensity_in.parts if manifest.intensity_in else ()
    origin, steps = manifest.data.get("imported"), manifest.step
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "file": f"{entry.path} ({entry.path.stat().st_size / 1e6:.1f} MB)",
        "sha256": loaded.sha256,
        "name": manifest.name,
        "method": f"{manifest.method}, direction {manifest.direction}",
        "domains": ", ".join(manifest.labels.names) or "-",
        "takes": f"pictures of any size: {_form(manifest.intensity_in, manifest.in_channels)}"
        + (", in this order" if inputs else ""),
        **{f"input {n}": f"{part.name}: {part.described}" for n, part in enumerate(inputs, 1)},
        "pads to": f"multiples of {manifest.size_multiple} px, at least {manifest.min_size} px",
        "gives": f"the same size: {_form(manifest.intensity_out, manifest.out_channels)}"
        + (f", a label map of {len(manifest.palette)} colors" if manifest.palette else ""),
        **{
            f"shown {what}": intensity.describe_show()
            for what, intensity in (
                ("inputs", manifest.intensity_in),
                ("outputs", manifest.intensity_out),
            )
            if intensity
        },
        "trained at": f"{manifest.trained_size} px, "
        + (f"imported from {origin}" if origin else f"{steps:,} steps, seed {manifest.seed}")
        + (f", starting from {start}" if (start := manifest.data.get("pretrained")) else ""),
        "weights": f"{manifest.weights}, {manifest.precision}"
        + (" (stored in fp16)" if manifest.half_weights else "")
        + f", {manifest.statistics} statistics",
        "features": ", ".join(
            f"{k} ({v[:16]})"
            for k, v in (manifest.feature_networks | manifest.feature_weights).items()
        )
        or "of no other network took part in training",
        "licence": manifest.licence or "not stated",
        "tiles": "no: each output pixel depends on the whole picture"
        if manifest.reach is None
        else f"yes: each output pixel depends on {manifest.reach} px around it, and the norms'"
        " statistics",
        "on CPUs": _on_cpus(manifest),
        "on GPUs": _on_gpus(manifest),
        "parity": ", ".join(f"{k} {v:.4g}" for k, v in manifest.parity.items()) or "-",
        **_in_units(manifest),
        "metrics": ", ".join(f"{k} {v:.4g}" for k, v in manifest.metrics.items()) or "-",
        "made with": f"{manifest.created_with}, {manifest.created}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    stdout_console().print(table, soft_wrap=True)


def _form(intensity: "Intensity | None", channels: int) -> str:
    """The type, the bands and the range of pictures, in words."""
    if intensity is None:
        return f"uint8, {channels} channels"
    return intensity.described


def _on_cpus(manifest: "Manifest") -> str:
    """The precision in which `--provider auto` computes on CPUs."""
    from img2img.manifest import NEAR_DB

    psnr = manifest.parity.get("bf16_psnr_mean")
    if manifest.has_values:
        return f"in {manifest.precision}, for exact values" + _of_range("bf16", psnr)
    if psnr is None:
        return f"in {manifest.precision}: the accuracy of bf16 was not measured"
    if not manifest.is_near_in_bf16:
        required = f"{NEAR_DB:.0f} are required"
        return f"in {manifest.precision}: the PSNR of bf16 is {psnr:.1f} dB ({required})"
    return (
        f"in bf16 where the CPU and OpenVINO support it (PSNR {psnr:.1f} dB against "
        f"{manifest.precision})"
    )


def _on_gpus(manifest: "Manifest") -> str:
    """The precision in which `--provider auto` computes on NVIDIA's GPUs."""
    from img2img.manifest import NEAR_DB

    psnr = manifest.parity.get("fp16_psnr_worst")
    if manifest.has_values:
        return f"in {manifest.precision}, for exact values" + _of_range("fp16", psnr)
    if psnr is None or manifest.precision != "fp32":
        unmeasured = ": the accuracy of fp16 was not measured"
        return f"in {manifest.precision}{unmeasured if manifest.precision == 'fp32' else ''}"
    if not manifest.is_near_in_fp16:
        return f"in fp32: the worst PSNR of fp16 is {psnr:.1f} dB ({NEAR_DB:.0f} are required)"
    return f"in fp16 on NVIDIA's (worst PSNR {psnr:.1f} dB against fp32)"


def _in_units(manifest: "Manifest") -> dict[str, str]:
    """A row on how far outputs are from torch's, in the units of the files; none for photographs,
    and where bands have ranges of different widths.
    """
    intensity, parity = manifest.intensity_out, manifest.parity
    if intensity is None or intensity.decibels or "mean_levels" not in parity:
        return {}
    widths = {high - low for low, high in zip(intensity.low, intensity.high, strict=True)}
    if len(widths) > 1:
        return {}
    unit = widths.pop() / 255  # of a grey level
    mean, most = (f"{parity[name] * unit:.3g}" for name in ("mean_levels", "max_levels"))
    name = f" {intensity.unit}" if intensity.unit else ""
    return {"in units": f"{mean}{name} from torch on average, at most {most}{name}"}


def _of_range(precision: str, psnr: float | None) -> str:
    """A remark on the accuracy of a precision that has to be asked for."""
    return "" if psnr is None else f" (PSNR of {precision} {psnr:.1f} dB of their range)"
