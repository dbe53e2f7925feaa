"""img2img triton: writes the folder from which NVIDIA's Triton Inference Server serves a model."""

from pathlib import Path
from typing import Annotated

import typer

from img2img.cli.options import option


def triton(
    model: Annotated[
        str, typer.Argument(help="A model file, or the name of a model or run, as of translate.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Triton's folder of models, to write to.")
    ],
    direction: Annotated[str | None, option("ab or ba, for a run with two directions.")] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures of one size that run together, at most.")
    ] = 8,
    delay: Annotated[
        int, typer.Option(min=0, help="How long a picture waits for others, microseconds.")
    ] = 2000,
) -> None:
    """Write the folder from which Triton Inference Server serves a model.

    img2img triton flat-to-3d -o repository
    """
    from img2img.infer import registry
    from img2img.infer import triton as repository

    written = repository.write(registry.find(model, direction), output, batch, delay)
    print(f"{written}  (tritonserver --model-repository={output.absolute()})")
