"""img2img import: makes a run and a bundle of a published generator."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from img2img.cli.options import option


def import_checkpoint(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Checkpoint (*_net_G*.pth, *-G.ckpt), or a folder of one."
        ),
    ],
    mode: Annotated[
        str | None,
        option("Method of the run; by default the one whose paper has such a generator."),
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("CycleGAN: direction of a single generator.")
    ] = None,
    domain: Annotated[
        list[str] | None, option("StarGAN: name of a domain, in the order of training; repeat.")
    ] = None,
    labels: Annotated[
        Literal["classes", "attributes"],
        option("StarGAN: a picture has one of the classes, or any of the attributes."),
    ] = "classes",
    key: Annotated[
        str | None, option("Key of the generator, in a file of several networks.")
    ] = None,
    norm: Annotated[
        Literal["instance", "none"] | None,
        option("Norm, if the file doesn't show it; by default instance."),
    ] = None,
    dropout: Annotated[bool | None, option("U-Net: it was trained with dropout.")] = None,
    padding: Annotated[
        Literal["paper", "reflect", "zeros"] | None,
        option("ResNet: padding. paper: reflect, but zeros where it downsamples."),
    ] = None,
    upsample: Annotated[
        Literal["nearest", "bilinear"] | None,
        option("ResNet that upsamples before convolutions: how."),
    ] = None,
    form: Annotated[
        Literal["flat", "rectified", "aladdinpersson"] | None,
        typer.Option(
            "--form",
            "--unet",
            help="U-Net in a flat module. flat: skips after LeakyReLU; rectified: after ReLU; "
            "aladdinpersson: with reflection padding.",
        ),
    ] = None,
    running_stats: Annotated[
        bool | None,
        option(
            "BatchNorm with its running averages, or with each picture's statistics; by default as "
            "in the repository of the file."
        ),
    ] = None,
    size: Annotated[
        str | None,
        option("Size of the training pictures in pixels: 256, or 512x256 (width x height)."),
    ] = None,
    licence: Annotated[str | None, option("License of the weights, for the manifest.")] = None,
    name: Annotated[
        str | None, option("Name of the run; by default that of the file's folder.")
    ] = None,
    out: Annotated[Path, option("Folder in which runs are created.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Import a published pix2pix, CycleGAN or StarGAN generator as a run, and export it.

    The architecture is recognized by the order and shapes of the layers. Nothing in the file is
    executed.

    img2img import latest_net_G.pth
    """
    import json
    import shlex

    from img2img.cli import stderr_console
    from img2img.errors import needs_extra

    try:
        from img2img.export.published import import_run
        from img2img.export.run import export_run
        from img2img.methods import METHODS
        from img2img.training.config import RunConfig
        from img2img.training.folder import new_folder
        from img2img.writing import move_folder, scratch_folder
    except ImportError as error:
        raise needs_extra("train", error) from None

    if mode is not None:
        METHODS.choose(mode)
    default_name = source.resolve().parent.name if source.is_file() else source.resolve().name
    run = new_folder(out, name or default_name or source.stem, numbered=name is None)
    given: dict[str, object] = {"norm": norm, "dropout": dropout, "size": size}
    given |= {"padding": padding, "upsample": upsample, "form": form}
    settings = {key: value for key, value in given.items() if value is not None}
    there = next(folder for folder in run.absolute().parents if folder.is_dir())
    with scratch_folder(there) as folder:  # a failure leaves nothing under the run's name
        draft, domains = folder / run.name, tuple(domain or ())
        network = import_run(
            source, draft, mode, direction, domains, labels, settings, licence, key
        )
        running = network.running if running_stats is None else running_stats
        exported = export_run(draft, stderr_console(), running_statistics=running)
        move_folder(draft, run)
    written = [(run / path.relative_to(draft), parity) for path, parity in exported]
    if as_json:
        files = [{"file": str(path), **parity} for path, parity in written]
        print(json.dumps({"run": str(run), "read_as": network.reading, "bundles": files}))
    else:
        print(f"Read as {network.reading}.")
        for path, parity in written:
            print(f"{path}  (at most {parity['max_levels']:.0f} grey levels from torch)")
        method = METHODS[RunConfig.load(run).mode]
        towards = method.translate_hint if len(written) > 1 or method.Config.conditional else ""
        print(f"Use it:  img2img translate PICTURES -o OUT -m {shlex.quote(str(run))}{towards}")
