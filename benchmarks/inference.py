"""Our bundles against torch with the same weights, and the folder pipeline against its session.

    python benchmarks/inference.py [--size 256] [--threads 2] [--json]
    python benchmarks/inference.py --write    # results and the table of docs/performance.md

The authors' networks with random weights: speed does not depend on them, fidelity does (that is
what `img2img bench` measures on a trained model). All take one real picture at a time, in turn, in
one process; the ratio in one run is what counts, times differ between machines.
"""

import argparse
import copy
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import page
import torch
from PIL import Image
from torch import nn

from img2img import Translator, images
from img2img.export import graph, quantize
from img2img.files import find_pictures
from img2img.infer.folder import Settings, translate_files
from img2img.infer.plan import make_plan
from img2img.infer.record import Record
from img2img.infer.registry import shipped
from img2img.infer.session import ON_CPU, available
from img2img.manifest import Labels, Manifest
from img2img.methods.base import ExportSpec
from img2img.nets.init import init_normal
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator
from img2img.nets.unet import UNet
from img2img.sizes import Size

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "inference-cpu.json"
PAGE = ROOT / "docs" / "performance.md"
ROUNDS = 12
Run = Callable[[], object]


def specs(size: int) -> dict[str, ExportSpec]:
    """The authors' generators."""
    torch.manual_seed(0)
    labels = Labels(sets=[{"kind": "classes", "domains": tuple("abcde")}])
    networks = {
        "U-Net": UNet(3, 3, 64, min((size & -size).bit_length() - 1, 8), "batch"),
        "ResNet-9": ResNet(3, 3, 64, 9, "instance"),
        "StarGAN": StarGenerator(3, 5),
    }
    for network in networks.values():
        init_normal(network)
    return {
        name: ExportSpec(network, 3, 3, labels if name == "StarGAN" else Labels())
        for name, network in networks.items()
    }


def save(spec: ExportSpec, precision: str, pictures: list[np.ndarray], folder: Path) -> Path:
    """The bundle that `img2img export` would write; int8 keeps the layers it always keeps."""
    size = pictures[0].shape[0]
    model = graph.trace(spec, Size(size, size), precision=precision)
    if precision == "int8":
        feeds = [{"image": picture[None]} for picture in pictures]
        if spec.labels.sets:
            feeds = [feed | {"domain": spec.labels.vector(0, {"a"})[None]} for feed in feeds]
        model = quantize.quantized_but_edges(model, feeds)
    manifest = Manifest(
        name=precision, method="-", direction="ab", size_multiple=spec.module.size_multiple,
        trained_size=Size(size, size), labels=spec.labels, precision=precision,
    )  # fmt: skip
    path = folder / f"{id(spec)}-{precision}.onnx"
    graph.write(model, manifest, path)
    return path


def torch_runs(spec: ExportSpec, picture: np.ndarray) -> dict[str, Run]:
    """The network in torch, from a uint8 picture to a uint8 picture."""
    pixels = graph.Pixels(spec).eval()
    image = torch.from_numpy(picture.copy())[None]
    domain = torch.from_numpy(spec.labels.vector(0, {"a"}))[None] if spec.labels.sets else None
    compiled = torch.compile(copy.deepcopy(pixels))

    def run(module: nn.Module, bf16: bool = False) -> Run:
        def once() -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return module(image, domain)

        return once

    return {
        "torch eager fp32": run(pixels),
        "torch bf16": run(pixels, bf16=True),
        "torch.compile fp32": run(compiled),
        "torch.compile bf16": run(compiled, bf16=True),
    }


def plain_openvino(bundle: Path, picture: np.ndarray, threads: int) -> Run:
    """The fp32 bundle in OpenVINO as it comes, which takes bf16 where the CPU has it."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(bundle, "CPU", settings)
    feed = {"image": picture[None]}
    if len(compiled.inputs) > 1:
        feed["domain"] = np.eye(1, compiled.inputs[1].partial_shape[1].get_length(), dtype="f")
    request = compiled.create_infer_request()
    return lambda: request.infer(feed)


def in_turn(runs: dict[str, Run]) -> dict[str, float]:
    """Median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            time.sleep(0.3)  # the threads of the one before still spin, waiting for work
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[2:]) for name, found in times.items()}


def sample_pictures(size: int) -> list[np.ndarray]:
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:8]
    return [images.resize(images.read(file).pixels, size, size) for file in files]


def networks(size: int, threads: int, pictures: list[np.ndarray]) -> dict[str, dict[str, float]]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in specs(size).items():
            runs = torch_runs(spec, pictures[0])
            to = "a" if spec.labels.sets else None
            bundles = {p: save(spec, p, pictures, Path(folder)) for p in ("fp32", "int8")}
            if "openvino" in providers():
                runs["OpenVINO bf16"] = plain_openvino(bundles["fp32"], pictures[0], threads)
            for provider in providers():
                for precision, path in bundles.items():
                    translator = Translator(path, provider, threads=threads)
                    title = f"img2img {precision}, {provider}"
                    runs[title] = lambda t=translator, to=to: t(pictures[0], to)
            found[name] = in_turn(runs)
    return found


def pipeline(
    provider: str,
    size: int,
    threads: int,
    pictures: list[np.ndarray],
    count: int,
    precision: str = "auto",
) -> dict[str, float]:
    """Pictures a second: JPEG files to PNG files, and the session alone on the same in memory, one
    by one on a CPU and in batches on a GPU, as the pipeline runs them.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save(specs(size)["U-Net"], "fp32", pictures, folder)
        translator = Translator(path, provider, threads=threads, precision=precision)
        (folder / "in").mkdir()
        for number in range(count):
            picture = Image.fromarray(pictures[number % len(pictures)])
            picture.save(folder / "in" / f"{number}.jpg", quality=95)
        decoded = [images.read(file).pixels for file in find_pictures(folder / "in")]
        rates: dict[str, list[float]] = {"session": [], "folder": []}
        for turn in range(3):
            began = time.perf_counter()
            if provider in ON_CPU:
                for picture in decoded:
                    translator(picture)
            else:
                translator(decoded)
            rates["session"].append(count / (time.perf_counter() - began))
            out = folder / f"out{turn}"
            jobs = make_plan([str(folder / "in")], out, "png", "1/1")
            summary = translate_files(translator, jobs, Record(out), Settings())
            rates["folder"].append(summary.done / summary.seconds)
    return {name: statistics.median(found) for name, found in rates.items()}


def mixed_sizes(size: int, threads: int, pictures: list[np.ndarray]) -> dict[str, float]:
    """Pixels a second of pictures that all differ in size, against pictures of one, by provider."""
    sides = [(size + 4 * i, size - 4 * i) for i in range(-12, 13) if i]
    mixed = [images.resize(pictures[0], *side) for side in sides]
    alike = [pictures[0]] * len(mixed)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = save(specs(size)["ResNet-9"], "fp32", pictures, Path(folder))
        for provider in providers():
            translator = Translator(path, provider, threads=threads)
            translator(pictures[0])
            rates = []
            for some in (alike, mixed):
                began = time.perf_counter()
                for picture in some:
                    translator(picture)
                pixels = sum(picture.shape[0] * picture.shape[1] for picture in some)
                rates.append(pixels / (time.perf_counter() - began))
            found[provider] = rates[1] / rates[0]
    return found


def providers() -> list[str]:
    """Those of a CPU that are installed."""
    return [name for name in ON_CPU if name in available()]


INSIDE = """
import sys, time
from img2img import Translator, images
picture = images.read(sys.argv[2]).pixels
from img2img.infer import session
began = time.perf_counter()
Translator(sys.argv[1], sys.argv[3])(picture)
print(time.perf_counter() - began)
"""


def cold_start(size: int, pictures: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Seconds of `img2img translate` of one picture, and of loading and running the model alone in
    a process just as cold, by provider.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        model = save(specs(size)["ResNet-9"], "fp32", pictures, Path(folder))
        picture = Path(folder) / "one.jpg"
        Image.fromarray(pictures[0]).save(picture, quality=95)
        for provider in providers():
            times: dict[str, list[float]] = {"command": [], "load and run": []}
            line = [sys.executable, "-m", "img2img", "translate", picture, "-m", model]
            line += ["-o", picture.with_suffix(".png"), "--provider", provider]
            line += ["--existing", "replace"]
            alone = [sys.executable, "-c", INSIDE, model, picture, provider]
            for _ in range(6):
                began = time.perf_counter()
                subprocess.run(line, check=True, capture_output=True)
                times["command"].append(time.perf_counter() - began)
                done = subprocess.run(alone, check=True, capture_output=True, text=True)
                times["load and run"].append(float(done.stdout))
            found[provider] = {name: statistics.median(each[1:]) for name, each in times.items()}
    return found


def table(result: dict) -> str:
    """Milliseconds and ratios, networks side by side; then the pipeline and the cold start."""
    found = result["seconds"]
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in next(iter(found.values())):
        cells = [
            f"{1000 * seconds[name]:.0f} ms, {seconds['torch eager fp32'] / seconds[name]:.2f}x"
            for seconds in found.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            *lines,
            "",
            *(
                f"The folder pipeline (U-Net, JPEG to PNG files) on {provider}: "
                f"{rates['folder']:.1f} pictures a second, "
                f"{rates['folder'] / rates['session']:.0%} of what the session does in memory "
                "on the same pictures."
                for provider, rates in result["pictures_a_second"].items()
            ),
            "",
            *(
                f"`img2img translate one.jpg` with a model of 45 MB on {provider}: "
                f"{cold['command']:.2f} s from a cold start, {cold['load and run']:.2f} s of it to "
                "load and run the model."
                for provider, cold in result["cold_start"].items()
            ),
            "",
            "Pictures that all differ in size, each new to the model, run at "
            + ", ".join(f"{r:.0%} on {name}" for name, r in result["mixed_sizes"].items())
            + " of the pixels a second of pictures of one size.",
            "",
            f"{result['machine']}; "
            + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
            + f"; {result['date']}; `benchmarks/inference.py`.",
        ]
    )


def write(result: dict) -> None:
    """Keep the result, and put its table between the page's marks."""
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    page.fill(PAGE, "inference", table(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pictures = sample_pictures(given.size)
    result = {
        "machine": machine.describe(given.threads),
        "versions": machine.versions("torch", "onnxruntime-gpu", "onnxruntime", "openvino"),
        "date": datetime.date.today().isoformat(),
        "size": given.size,
        "seconds": networks(given.size, given.threads, pictures),
        "pictures_a_second": {
            provider: pipeline(provider, given.size, given.threads, pictures, given.files)
            for provider in providers()
        },
        "cold_start": cold_start(given.size, pictures),
        "mixed_sizes": mixed_sizes(given.size, given.threads, pictures),
    }
    if given.write:
        write(result)
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for name, seconds in result["seconds"].items():
        print(name)
        for what, value in seconds.items():
            print(f"  {what:20} {value:.3f} s  {seconds['torch eager fp32'] / value:5.2f} x eager")
    for provider, rates in result["pictures_a_second"].items():
        share = rates["folder"] / rates["session"]
        found = f"folder {rates['folder']:.1f}/s, session {rates['session']:.1f}/s: {share:.0%}"
        print(f"{found} on {provider}")
    for provider, cold in result["cold_start"].items():
        print(f"cold start on {provider}: " + ", ".join(f"{n} {s:.2f} s" for n, s in cold.items()))


if __name__ == "__main__":
    main()
