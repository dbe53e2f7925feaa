"""img2img compare: several runs side by side on one page."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from img2img.cli.options import Show, option


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Exported runs.")],
    inputs: Annotated[
        list[Path],
        option("Folder of pictures that every run translates; repeat for several inputs."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "compare.html"
    ),
    real: Annotated[
        Path | None, option("Folder of real pictures to measure the translations against.")
    ] = None,
    direction: Annotated[
        Literal["ab", "ba"] | None, option("For models with two directions.")
    ] = None,
    to: Annotated[str | None, option("Target domain.")] = None,
    show: Show = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples for the confidence intervals.")
    ] = 200,
) -> None:
    """Show runs side by side: the same inputs, the numbers, the losses, the settings.

    img2img compare runs/first runs/second --inputs flat --real 3d
    """
    from img2img.cli import stderr_console
    from img2img.errors import needs_extra
    from img2img.ranges import items_of
    from img2img.writing import write_whole

    try:
        from img2img.evaluate.compare import compare as make_page
    except ImportError as error:
        raise needs_extra("eval", error) from None
    console = stderr_console()
    shown = items_of("--show", show or ())
    write_whole(output, make_page(runs, inputs, real, console, direction, to, bootstrap, shown))
    print(f"see {output}")
