"""What `img2img doctor` examines. Nothing is changed, and nothing is sent."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from img2img import __version__, machine, telemetry
from img2img.errors import DataError, DeviceError, install_command
from img2img.files import cache_folder
from img2img.infer import nvidia, registry

WORKS = "works"
LITTLE = 2**30  # bytes of memory or disk below which work is likely to fail
LITTLE_SHARED = 64 * 2**20  # bytes of /dev/shm: what Docker gives, and twice what waits there


def examined(provider: str | None = None, device: str | None = None) -> dict[str, Any]:
    """The report. provider, device: what the verdicts are about, in place of the best ones.

    Raises UsageError for a provider that does not exist.
    """
    problems: list[str] = []
    remarks: list[str] = []
    runtimes = _runtimes(problems)
    gpus = _gpus()
    report = {
        "img2img": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "processor": {"name": machine.processor(), "instructions": machine.instructions()},
        "cores": machine.cores(),
        "memory": machine.ram(),
        "shared memory": machine.free_shared_memory(),
        "folders": _folders(remarks),
        "gpus": gpus,
        "packages": _packages(),
        "onnxruntime": runtimes,
        "inference": _inference(provider, runtimes, gpus, remarks),
        "training": _training(device, gpus, problems, remarks),
        "telemetry": _telemetry(remarks),
        "models": _models(problems),
        "remarks": remarks,
        "problems": problems,
    }
    remarks += _of_limits(report)
    return report


def _folders(remarks: list[str]) -> dict[str, Any]:
    """Where files are written, and how much fits there."""
    named = {"current": Path.cwd(), "cache": cache_folder(), "models": registry.added()}
    try:
        named["temporary"] = Path(tempfile.gettempdir())
    except FileNotFoundError:
        remarks.append("there is no folder for temporary files that can be written: set TMPDIR")
    return {name: machine.place(path) for name, path in named.items()}


def _packages() -> dict[str, str | None]:
    """The versions of packages that decide what works; None for those that are not installed."""
    versions: dict[str, str | None] = {}
    for name in ("numpy", "pillow", "openvino", "torch", "albumentations", "fastapi", "gradio"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _runtimes(problems: list[str]) -> dict[str, Any]:
    """The packages that install onnxruntime, its version, and the CUDA that it was built for."""
    packages = _runtime_packages()
    names = list(packages)
    runtimes: dict[str, Any] = {"packages": packages, "works": True}
    if len(names) > 1:
        problems.append(
            f"{' and '.join(names)} are all installed, and overwrite each other's files. Keep one: "
            f"pip uninstall -y {' '.join(names)}, then pip install onnxruntime-gpu (NVIDIA's GPUs "
            "and CPUs) or onnxruntime (CPUs)."
        )
    try:
        import onnxruntime

        runtimes["version"] = onnxruntime.__version__
        runtimes["CUDA"] = getattr(onnxruntime, "cuda_version", "") or None
        onnxruntime.InferenceSession  # noqa: B018, what is left of two packages lacks it
    except (ImportError, AttributeError) as error:
        problems.append(
            f"onnxruntime can't be imported ({error}). Install it again: pip install "
            f"--force-reinstall {names[0] if names else 'onnxruntime'}"
        )
        runtimes["works"] = False
    return runtimes


def _runtime_packages() -> dict[str, str]:
    """The versions of the packages that have the folder `onnxruntime`."""
    versions = {}
    for package in distributions():
        name = package.name.lower()
        if name.startswith("onnxruntime") and _has_folder(package, "onnxruntime"):
            versions[name] = package.version
    return dict(sorted(versions.items()))


def _has_folder(package: Distribution, folder: str) -> bool:
    return any(file.parts[0] == folder for file in package.files or ())


def _gpus() -> dict[str, Any]:
    """NVIDIA's driver and GPUs; other GPUs have no driver of their own to ask."""
    return {**nvidia.driver_versions(), "devices": [asdict(gpu) for gpu in nvidia.gpus()]}


def _inference(
    wanted: str | None, runtimes: dict[str, Any], gpus: dict[str, Any], remarks: list[str]
) -> dict[str, Any]:
    """What each provider does, CUDA's missing libraries, and the verdict for running models."""
    if not runtimes["works"]:
        return {"works": False, "verdict": "onnxruntime can't be imported"}
    from img2img.infer import cuda_libraries, probe, session

    asked = [] if wanted in (None, "auto") else [wanted]
    providers: dict[str, str] = {}
    for name in dict.fromkeys([*session.available(), *asked]):
        if name == "tensorrt" and name not in asked and gpus["devices"]:
            providers[name] = "not tried, as that takes long: --provider tensorrt tries it"
        else:
            providers[name] = probe.failure(name) or WORKS
    working = [name for name, state in providers.items() if state == WORKS]
    on_gpu = [name for name in working if name not in session.ON_CPU]
    if gpus["devices"] and not on_gpu:
        remarks.append(
            f"models don't run on the NVIDIA GPU: {providers['cuda']}"
            if "cuda" in providers
            else "models don't run on the NVIDIA GPU, as onnxruntime is the build without CUDA: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
        )
    if asked:
        works, verdict = providers[asked[0]] == WORKS, f"{asked[0]}: {providers[asked[0]]}"
    else:
        place = "GPU" if on_gpu else "CPU"
        works, verdict = bool(working), f"on the {place} ({', '.join(on_gpu or working)})"
    return {
        "works": works,
        "verdict": verdict if works or asked else "no provider works",
        "providers": providers,
        "CUDA libraries missing": cuda_libraries.missing(),
    }


def _training(
    wanted: str | None, gpus: dict[str, Any], problems: list[str], remarks: list[str]
) -> dict[str, Any]:
    """The devices that torch has, and the verdict for training."""
    try:
        import torch

        from img2img.training.precision import has_bf16
        from img2img.training.runtime import Runtime
    except ModuleNotFoundError as error:
        command = install_command("train")
        return {"works": False, "verdict": f"{error.name} is not installed: {command}"}
    except (ImportError, OSError) as error:  # a library of torch is missing or broken
        problems.append(f"torch can't be imported ({error}). Install it again.")
        return {"works": False, "verdict": "torch can't be imported"}
    if gpus["devices"] and not torch.cuda.is_available():
        reason = "can't use its driver" if torch.version.cuda else "is a build without CUDA"
        remarks.append(f"training can't use the NVIDIA GPU: torch {torch.__version__} {reason}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts: dict[str, Any] = {
        "CUDA of torch": torch.version.cuda,
        "devices": [*devices, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"],
    }
    try:
        runtime = Runtime(wanted or "auto")
    except DeviceError as error:
        return {"works": False, "verdict": str(error), **facts}
    verdict = f"on {runtime.describe()}"
    if runtime.device.type == "cpu":
        formats = "fp32, or bf16 where that is faster" if has_bf16() else "fp32"
        verdict = f"on the CPU in {formats}; a GPU is many times faster"
    return {"works": True, "verdict": verdict, **facts}


def _telemetry(remarks: list[str]) -> dict[str, str]:
    """The variables that turn off telemetry, with "off" for those that do."""
    states = {
        name: "off" if telemetry.is_off(name) else f"set to {os.environ.get(name)!r}"
        for name in telemetry.SWITCHES
    }
    others = [name for name, state in states.items() if state != "off"]
    if others:
        remarks.append(f"Telemetry of libraries may be on: {', '.join(others)} is set by you.")
    return states


def _models(problems: list[str]) -> list[dict[str, str]]:
    """The models that can be named here, and whether they are what their SHA256SUMS lists."""
    models = []
    for entry in registry.entries():
        state = "intact" if entry.sha256 else "not listed in a SHA256SUMS"
        try:
            registry.require_intact(entry)
            digest = registry.digest(entry.path)
        except (DataError, OSError) as error:
            problems.append(str(error))
            state, digest = "damaged", ""
        models.append(
            {"name": entry.name, "path": str(entry.path), "sha256": digest, "state": state}
        )
    return models


def _of_limits(report: dict[str, Any]) -> Iterator[str]:
    """Remarks on what is scarce."""
    if report["memory"]["available"] < LITTLE:
        yield "Less than 1 GiB of memory is available: use small --size and --batch, or --tile."
    shared = report["shared memory"]
    if shared is not None and shared < LITTLE_SHARED:
        yield (
            "Less than 64 MiB of /dev/shm are free: large batches need more (docker run "
            "--shm-size 1g), or --workers 0."
        )
    quota = report["cores"]["quota"]
    if quota is not None and quota < 1:
        yield f"The control group allows {quota:g} of a core: everything takes that much longer."
    for name, place in report["folders"].items():
        if not place["writable"]:
            yield f"The {name} folder can't be written: {place['path']}"
        elif place["free"] < LITTLE:
            yield f"Less than 1 GiB is free on the disk of the {name} folder: {place['path']}"
