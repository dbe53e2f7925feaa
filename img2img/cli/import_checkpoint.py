"""img2img import: a published generator becomes a run and a bundle."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from img2img.cli.options import option


def import_checkpoint(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="*_net_G*.pth or *-G.ckpt; or their folder.")
    ],
    mode: Annotated[
        str | None,
        option("Method of the run; by default the one whose paper has such a generator."),
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("CycleGAN: which way a lone generator translates.")
    ] = None,
    domain: Annotated[
        list[str] | None, option("StarGAN: a domain's name, in the order of training; repeat.")
    ] = None,
    labels: Annotated[
        Literal["classes", "attributes"], option("StarGAN: one of those domains, or any.")
    ] = "classes",
    key: Annotated[
        str | None, option("Of the generator, in a file that holds several networks.")
    ] = None,
    norm: Annotated[
        Literal["instance", "none"] | None, option("Where the file has no trace of one: instance.")
    ] = None,
    dropout: Annotated[bool | None, option("U-Net: whether it was trained with dropout.")] = None,
    padding: Annotated[
        Literal["paper", "reflect", "zeros"] | None,
        option("ResNet: at the border; paper: reflect, but zeros where it halves."),
    ] = None,
    upsample: Annotated[
        Literal["nearest", "bilinear"] | None,
        option("ResNet that enlarges before a convolution: nearest, or bilinear."),
    ] = None,
    form: Annotated[
        Literal["flat", "rectified", "aladdinpersson"] | None,
        typer.Option(
            "--form",
            "--unet",
            help="Flat U-Net: skips carry LeakyReLU's output, or ReLU's; or reflection padding.",
        ),
    ] = None,
    running_stats: Annotated[
        bool | None,
        option("BatchNorm by its averages, or each picture's; by default as its repository does."),
    ] = None,
    size: Annotated[
        str | None, option("Of the pictures it was trained on, px: 256, or 512x256.")
    ] = None,
    licence: Annotated[str | None, option("Of the weights, for the manifest.")] = None,
    name: Annotated[str | None, option("Of the run; made up by default.")] = None,
    out: Annotated[Path, option("Where runs go.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a run and a bundle of a published pix2pix, CycleGAN or StarGAN generator.

    The architecture is read off the order and shapes of the layers, whatever their names; nothing
    in the file is executed.
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
    except ImportError as error:
        raise needs_extra("train", error) from None

    if mode is not None:
        METHODS.choose(mode)
    made_up = source.resolve().parent.name if source.is_file() else source.resolve().name
    run = new_folder(out, name or made_up or source.stem, numbered=name is None)
    given: dict[str, object] = {"norm": norm, "dropout": dropout, "size": size}
    given |= {"padding": padding, "upsample": upsample, "form": form}
    settings = {key: value for key, value in given.items() if value is not None}
    network = import_run(
        source, run, mode, direction, tuple(domain or ()), labels, settings, licence, key
    )
    by_averages = network.running if running_stats is None else running_stats
    written = export_run(run, stderr_console(), running_statistics=by_averages)
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
