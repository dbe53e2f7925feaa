"""Data sets: folders of pictures, read as endless and exactly repeatable streams of batches."""

from typing import TYPE_CHECKING

from img2img.table import Table

if TYPE_CHECKING:
    from img2img.data.dataset import Dataset

LAYOUTS: "Table[type[Dataset]]" = Table(
    "data layout",
    "img2img.layouts",
    {
        "pairs": "img2img.data.paired:Pairs",
        "side-by-side": "img2img.data.paired:SideBySide",
        "pairs-and-inputs": "img2img.data.paired:PairsAndInputs",
        "unpaired": "img2img.data.unpaired:Unpaired",
        "partly-paired": "img2img.data.unpaired:PartlyPaired",
        "labelled": "img2img.data.labelled:Labelled",
    },
    base="img2img.data.dataset:Dataset",
)
