"""img2img doctor: what this machine can run."""

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show versions, devices and execution providers, and problems with them."""
    import json
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from img2img import __version__
    from img2img.errors import Img2ImgError
    from img2img.files import usable_cores

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ("onnxruntime-gpu", "onnxruntime", "openvino", "torch", "albumentations", "gradio")
    versions = {name: installed(name) for name in packages}
    problems = []
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install img2img again"
        )
    providers: dict[str, str] = {}
    try:
        from img2img.infer import registry, session

        sample = next(registry.entries(), None)
        for name in session.available():
            try:
                if sample:
                    session.load(sample.path, name)
                providers[name] = (
                    "works" if sample else "installed, not tried (there is no model to run)"
                )
            except Img2ImgError as error:
                providers[name] = str(error)
    except ImportError as error:
        problems.append(f"onnxruntime can't be imported: {error}")
    devices = ["cpu"]
    if versions["torch"]:
        try:
            import torch

            devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            devices += ["mps"] if torch.backends.mps.is_available() else []
        except (ImportError, OSError) as error:  # one of its libraries is missing or broken
            problems.append(f"torch can't be imported: {error}")
    report = {
        "img2img": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "packages": versions,
        "providers": providers,
        "training devices": devices if versions["torch"] else "none: pip install 'img2img[train]'",
        "problems": problems,
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, inner in value.items():
                    print(f"  {key}: {inner or '-'}")
            else:
                shown = ", ".join(value) if isinstance(value, list) else value
                print(f"{name}: {shown or 'none'}")
    if problems:
        raise Img2ImgError("; ".join(problems))
