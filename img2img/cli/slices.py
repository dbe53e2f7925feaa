"""img2img slices: the pages of files of values as files of one page each."""

from pathlib import Path
from typing import Annotated

import typer


def slices(
    inputs: Annotated[list[Path], typer.Argument(help="Files or folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    neighbors: Annotated[
        int,
        typer.Option(
            min=0, help="So many pages before and after each become further bands of it (2.5D)."
        ),
    ] = 0,
    every: Annotated[int, typer.Option(min=1, help="Only every n-th page.")] = 1,
) -> None:
    """Save each page of TIFF, DICOM and NIfTI files as a TIFF of its exact values.

    img2img slices scans -o slices\n
    img2img slices volume.nii.gz -o slices --neighbors 1
    """
    from rich.progress import track

    from img2img import rasters
    from img2img.cli import stderr_console
    from img2img.errors import DataError
    from img2img.files import PassedOver, named_files, split_suffix
    from img2img.rasters import Raster
    from img2img.rasters.pages import opened
    from img2img.writing import write_whole

    console = stderr_console()
    passed_over = PassedOver()
    files = named_files(inputs, passed_over)
    if str(passed_over):
        console.print(f"{passed_over}.", highlight=False, markup=False)
    written = 0
    for path, relative in track(files, "slicing", console=console, transient=True):
        with opened(path, "each", neighbors) as pictures:
            digits = len(str(pictures.header.pages - 1))
            for page in range(0, pictures.header.pages, every):
                target = output / f"{split_suffix(str(relative))[0]}-{page:0{digits}}.tif"
                if target.exists():
                    raise DataError(f"{target} exists already. Choose another folder with -o.")
                picture = pictures.read(page)
                plain = Raster(picture.values, nodata=picture.nodata)
                write_whole(target, rasters.encode(picture.values, plain, ".tif"), sync=False)
                written += 1
    console.print(f"{written:,} pages of {len(files):,} files; see {output}")
