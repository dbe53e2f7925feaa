"""What the options of several commands share."""

from typing import Annotated, Any, Literal

import typer


def option(text: str) -> Any:
    """An option that has only a help text."""
    return typer.Option(help=text)


# As img2img.infer.session.Computed has it, which would import a runtime.
Precision = Annotated[
    Literal["auto", "fp32", "fp16"],
    option("Of the computation. auto: the fastest of which the export measured 45 dB or more."),
]
Show = Annotated[
    list[str] | None,
    option(
        "Values, not photographs: the bands and the stretch that are shown, as of train, in place "
        "of the model's: a=@0:100, b=4,3,2@0:3000."
    ),
]
