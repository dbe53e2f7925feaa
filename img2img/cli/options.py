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
# Of translating on Ray.
Engine = Annotated[
    Literal["local", "ray"],
    option("Who translates. local: this process; ray: the machines of a cluster, or this one's."),
]
Address = Annotated[
    str | None,
    option(
        "Of a Ray cluster, whose machines see the files at the same paths. Default: RAY_ADDRESS, "
        "else a cluster of this machine alone."
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(min=1, help="Sessions on Ray at the same time. Default: as many as have room."),
]
Show = Annotated[
    list[str] | None,
    option(
        "Values, not photographs: the bands and the stretch that are shown, as of train, in place "
        "of the model's: a=@0:100, b=4,3,2@0:3000."
    ),
]

# Of the servers.
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        help="A name by which clients may call this server, beside localhost and its address; "
        "repeatable. * stands for any."
    ),
]
Cors = Annotated[
    list[str] | None,
    typer.Option(help="A page that may call this server, such as https://example.org; repeatable."),
]
RootPath = Annotated[
    str, option("The path at which a proxy offers this server, such as /pictures.")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that compute one picture. Default: the usable cores."),
]
