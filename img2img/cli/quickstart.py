"""img2img quickstart: trains, exports and translates, with the sample that ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

SETTINGS = {  # besides those of the preset: a small U-Net, for two minutes on two CPU cores
    "size": 64,
    "width": 24,
    "levels": 5,
    "batch": 4,
    "steps": 1200,
    "epochs": None,
    "ema": 0.995,
}
SHOWN = 12  # rows of the contact sheet


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder in which the run is created.")] = Path("runs"),
    name: Annotated[
        str, typer.Option(help="Name of the run; a number is added if it is taken.")
    ] = ("quickstart"),
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a translator from flat to 3D emoji, export it, and translate held-out pictures.

    Works offline, and takes about three minutes on two CPU cores. Prints the held-out L1 distance
    with those of two trivial baselines, and writes a contact sheet: input, output, truth.

    img2img quickstart --name first
    """
    import json
    import shlex

    from rich.console import Console
    from rich.table import Table

    from img2img.cli import stderr_console
    from img2img.errors import Img2ImgError, UsageError, install_command, needs_extra
    from img2img.infer.registry import shipped

    try:
        from img2img.export.run import export_run
        from img2img.training.config import RunConfig
        from img2img.training.folder import new_folder
        from img2img.training.loop import train
        from img2img.training.plan import make_plan
    except ImportError as error:
        raise needs_extra("train", error) from None

    console, sample = stderr_console(), shipped("quickstart")
    if not (sample / "train").is_dir():
        raise UsageError(f"The sample's pictures are not installed: {install_command('models')}")
    run = new_folder(out, name, numbered=True)
    config = RunConfig.build(
        {
            "name": run.name,
            "mode": "pix2pix",
            "preset": "modern",
            "method": SETTINGS,
            "sources": {"a": sample / "train" / "flat", "b": sample / "train" / "3d"},
            "test": {"a": sample / "test" / "flat", "b": sample / "test" / "3d"},
            "seed": seed,
            "licence": "MIT",
            "eval_every": 0,  # it is compared with ground truths at the end
        }
    )
    train(make_plan(config, console), run, console)
    [(bundle, _)] = export_run(run, console)
    figures = _compare(run, bundle, sample, console)
    (run / "quickstart.json").write_text(json.dumps(figures, indent=2))
    if as_json:
        print(json.dumps({**figures, "sheet": str(run / "sheet.png"), "model": str(bundle)}))
    else:
        table = Table("output", "held-out L1 (0 is perfect, 2 is worst)")
        for answer, value in figures.items():
            table.add_row(answer, f"{value:.4f}")
        Console().print(table)
        print(f"Pictures: {run / 'sheet.png'}")
        print(f"Use it:  img2img translate PICTURES -o OUT -m {shlex.quote(str(bundle))}")
    if figures["the model"] >= min(figures["copy the input"], figures["the mean picture"]):
        raise Img2ImgError(
            "The model is not better than the trivial baselines. Please report this."
        )


def _compare(run: Path, bundle: Path, sample: Path, console: "Console") -> dict[str, float]:
    """Translate the held-out folder, write the contact sheet, and measure the L1 to the truth."""
    import statistics

    from img2img import images
    from img2img.evaluate.metrics import l1, mean_picture
    from img2img.files import find_pictures
    from img2img.infer.folder import translate_files
    from img2img.infer.pipeline import Settings
    from img2img.infer.plan import make_plan
    from img2img.infer.record import Record
    from img2img.infer.translator import Translator
    from img2img.writing import write_whole

    def pixels(folder: Path) -> "list[np.ndarray]":
        return [images.read(path).pixels for path in find_pictures(folder)]

    out = run / "translated"
    jobs = make_plan([str(sample / "test" / "flat")], out, "png", "1/1")
    summary = translate_files(Translator(bundle), jobs, Record(out), Settings())
    console.print(f"translated {summary.done} held-out pictures in {summary.seconds:.1f} s")
    inputs, outputs = pixels(sample / "test" / "flat"), pixels(out)
    truths = pixels(sample / "test" / "3d")
    mean = mean_picture(pixels(sample / "train" / "3d"))
    every = max(1, len(inputs) // SHOWN)
    columns = {
        name + " " * half: [
            # Enlarged, because 64 px are small.
            images.resize(picture, 128, 128)
            for picture in column[::every][half:SHOWN:2]
        ]
        for half in (0, 1)
        for name, column in (("input", inputs), ("output", outputs), ("truth", truths))
    }
    sheet = images.contact_sheet(columns)
    write_whole(run / "sheet.png", images.encode(images.Picture(sheet), ".png"))
    answers = {
        "the model": outputs,
        "copy the input": inputs,
        "the mean picture": [mean] * len(truths),
    }
    return {
        answer: statistics.fmean(map(l1, pictures, truths)) for answer, pictures in answers.items()
    }
