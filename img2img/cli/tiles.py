"""img2img tiles: pictures that are larger than a training crop, cut into files of one size."""

from pathlib import Path
from typing import Annotated

import typer


def tiles(
    inputs: Annotated[list[Path], typer.Argument(help="Files or folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the tiles.")],
    size: Annotated[int, typer.Option(min=16, help="Side of a tile, px.")] = 512,
    step: Annotated[
        int | None, typer.Option(min=1, help="From tile to tile, px. Default: the size.")
    ] = None,
    level: Annotated[
        int, typer.Option(min=0, help="Level of a pyramid; 0 is the full size, each is smaller.")
    ] = 0,
) -> None:
    """Cut TIFFs (scenes and slides of any size) and .npy files into tiles of their exact values.

    A tile is named by its corner: slide-y01024-x00512.tif. GeoTIFFs keep their place.

    img2img tiles slides -o tiles --size 512 --level 1
    """
    from dataclasses import replace

    from rich.progress import track

    from img2img import rasters
    from img2img.box import boxes
    from img2img.cli import stderr_console
    from img2img.errors import DataError, UsageError
    from img2img.files import named_files, split_suffix
    from img2img.rasters import windows
    from img2img.rasters.tiff_metadata import TiffMetadata, moved
    from img2img.writing import write_whole

    console = stderr_console()
    files = named_files(inputs)
    stems: dict[str, Path] = {}  # of the outputs, each with its input
    for path, relative in files:
        if split_suffix(path.name)[1].lower() not in windows.SUFFIXES:
            raise DataError(f"{path}: only TIFF and .npy are cut into tiles. Leave it out.")
        stem = split_suffix(str(relative))[0]
        if (other := stems.setdefault(stem, path)) != path:
            raise UsageError(f"{other} and {path} would give tiles of the same names. Rename one.")
    written, empty = 0, 0
    notes: dict[str, Path] = {}
    for stem, path in stems.items():
        with windows.opened(path, level) as page:
            digits = len(str(max(page.shape)))
            parts = boxes(*page.shape, size, step or size)
            for box in track(parts, path.name, console=console, transient=True):
                raster = page.read(box)
                for note in raster.notes:
                    notes.setdefault(note, path)
                if raster.is_empty:
                    empty += 1
                    continue
                place = f"-y{box.top:0{digits}}-x{box.left:0{digits}}.tif"
                target = output / f"{stem}{place}"
                if isinstance(raster.carried, TiffMetadata):
                    raster = replace(raster, carried=moved(raster.carried, box.top, box.left))
                content = rasters.encode(raster.values, raster, ".tif")
                if not target.exists():
                    write_whole(target, content, sync=False)
                elif target.read_bytes() != content:  # not that of an earlier, interrupted run
                    raise UsageError(
                        f"{target} exists already, with other content. Choose another folder with "
                        "-o."
                    )
                written += 1
    for note, path in notes.items():
        console.print(f"{note} (first: {path})", highlight=False, markup=False)
    left_out = f"; {empty:,} without a value are left out" if empty else ""
    console.print(f"{written:,} tiles of {len(files):,} files{left_out}; see {output}")
