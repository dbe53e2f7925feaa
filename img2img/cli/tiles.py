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
        int | None,
        typer.Option(
            min=0, help="Level of a pyramid; 0, the default, is the full size, each is smaller."
        ),
    ] = None,
    magnification: Annotated[
        float | None,
        typer.Option(help="In place of --level: that of the objective, such as 20, by the file."),
    ] = None,
) -> None:
    """Cut TIFFs (scenes and slides of any size) and .npy files into tiles of their exact values.

    A tile is named by its corner: slide-y01024-x00512.tif. GeoTIFFs keep their place.

    img2img tiles slides -o tiles --size 512 --magnification 20
    """
    import math
    from dataclasses import replace

    from rich.progress import track

    from img2img import rasters
    from img2img.box import boxes
    from img2img.cli import stderr_console
    from img2img.errors import DataError, UsageError
    from img2img.files import PassedOver, named_files, split_suffix
    from img2img.rasters import windows
    from img2img.rasters.magnification import level_of
    from img2img.rasters.tiff_metadata import TiffMetadata, moved
    from img2img.writing import write_whole

    if magnification is not None and (level is not None or not 0 < magnification < math.inf):
        raise UsageError("--magnification is a number above 0, without --level.")
    console = stderr_console()
    passed_over = PassedOver()
    files = named_files(inputs, passed_over)
    if str(passed_over):
        console.print(f"{passed_over}.", highlight=False, markup=False)
    stems: dict[str, Path] = {}  # of the outputs, each with its input
    for path, relative in files:
        if not windows.reads(path):
            raise DataError(f"{path}: only TIFF and .npy are cut into tiles. Leave it out.")
        stem = split_suffix(str(relative))[0]
        if (other := stems.setdefault(stem, path)) != path:
            raise UsageError(f"{other} and {path} would give tiles of the same names. Rename one.")
    written, empty = 0, 0
    notes: dict[str, Path] = {}
    for stem, path in stems.items():
        chosen = level_of(path, magnification) if magnification else level or 0
        with windows.opened(path, chosen) as page:
            if page.pages > 1:
                raise DataError(
                    f"{path}: it has {page.pages} pages. Save them as files with img2img slices "
                    "first."
                )
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
