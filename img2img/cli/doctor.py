"""img2img doctor: what this machine can run."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def doctor(
    provider: Annotated[
        str | None,
        typer.Option(help="Exit with code 4 if models can't run with this provider, as cuda."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Exit with code 4 if training can't use this device, as cuda or mps."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show what this machine has, and whether it can run models and train.

    Nothing is changed or sent. Exit code 1: something that is installed is broken.

    img2img doctor --provider cuda --device cuda
    """
    import json

    from img2img.cli import stdout_console
    from img2img.cli.examination import examined
    from img2img.errors import DeviceError, Img2ImgError

    report = examined(provider, device)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        console = stdout_console()
        console.print(_facts(report))
        console.print(_verdicts(report))
    if provider and not report["inference"]["works"]:
        raise DeviceError(f"Models can't run here. {report['inference']['verdict']}")
    if device and not report["training"]["works"]:
        raise DeviceError(f"Training can't run here. {report['training']['verdict']}")
    if report["problems"]:
        raise Img2ImgError(" ".join(report["problems"]))


def _facts(report: dict[str, Any]) -> "Table":
    table = _table()
    rows = {name: report[name] for name in ("img2img", "python", "platform")}
    rows |= _of_machine(report)
    rows |= _of_gpus(report["gpus"])
    rows |= _of_runtime(report["onnxruntime"], report["inference"])
    rows |= {name: version or "not installed" for name, version in report["packages"].items()}
    on = [name for name, state in report["telemetry"].items() if state != "off"]
    rows["telemetry"] = f"may be on: {', '.join(on)}" if on else "off"
    for model in report["models"]:
        rows[f"model {model['name']}"] = f"{model['sha256'][:16]} {model['state']}"
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _of_machine(report: dict[str, Any]) -> dict[str, str]:
    from img2img.machine import meanings

    rows = {"processor": report["processor"]["name"]}
    has = report["processor"]["instructions"]
    for name, meaning in meanings().items():
        answer = "unknown, " if has is None else "yes " if has[name] else "no  "
        rows[f"  {name}"] = answer + meaning
    cores, memory = report["cores"], report["memory"]
    quota = "" if cores["quota"] is None else f", control group {cores['quota']:g}"
    rows["cores"] = f"{cores['usable']} usable of {cores['of the machine']}{quota}"
    available, total = _size(memory["available"]), _size(memory["of the machine"])
    left = memory.get("left by limits")
    limit = "" if left is None else f", {_size(left)} left by the control group"
    rows["memory"] = f"{available} available of {total}{limit}"
    if report["shared memory"] is not None:
        rows["/dev/shm"] = f"{_size(report['shared memory'])} free"  # noqa: S108
    for name, place in report["folders"].items():
        rights = "" if place["writable"] else ", can't be written"
        rows[f"{name} folder"] = f"{place['path']} ({_size(place['free'])} free{rights})"
    return rows


def _of_gpus(gpus: dict[str, Any]) -> dict[str, str]:
    versions = ", ".join(f"{name} {gpus[name]}" for name in ("driver", "CUDA") if name in gpus)
    rows = {"NVIDIA": versions or "no driver"}
    for number, gpu in enumerate(gpus["devices"]):
        capability = f"compute capability {gpu['compute_capability']}"
        rows[f"  GPU {number}"] = f"{gpu['name']}, {_size(gpu['memory'])}, {capability}"
    return rows


def _of_runtime(runtimes: dict[str, Any], inference: dict[str, Any]) -> dict[str, str]:
    names = ", ".join(f"{name} {version}" for name, version in runtimes["packages"].items())
    cuda = f"built for CUDA {runtimes['CUDA']}" if runtimes.get("CUDA") else "without CUDA"
    rows = {"onnxruntime": f"{names or 'not installed'}, {cuda}"}
    rows |= {f"  {name}": state for name, state in inference.get("providers", {}).items()}
    if missing := inference.get("CUDA libraries missing"):
        rows["  CUDA lacks"] = ", ".join(missing)
    return rows


def _verdicts(report: dict[str, Any]) -> "Table":
    table = _table()
    for kind in ("remarks", "problems"):
        for text in report[kind]:
            table.add_row(kind.removesuffix("s"), text)
    for question, name in (("run models?", "inference"), ("train?", "training")):
        answer = "yes" if report[name]["works"] else "no"
        table.add_row(question, f"{answer}, {report[name]['verdict']}")
    return table


def _table() -> "Table":
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
