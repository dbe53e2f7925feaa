"""Methods: each is the networks and losses of a paper, in a file of its own and a row of METHODS.

Importing this module does not import torch; looking up a method does.
"""

from typing import TYPE_CHECKING

from img2img.table import Table

if TYPE_CHECKING:
    from img2img.methods.base import Method

METHODS: "Table[type[Method]]" = Table(
    "method",
    "img2img.methods",
    {
        "pix2pix": "img2img.methods.pix2pix:Pix2Pix",
        "cyclegan": "img2img.methods.cyclegan:CycleGAN",
        "stargan": "img2img.methods.stargan:StarGAN",
        "cut": "img2img.methods.cut:CUT",
    },
    base="img2img.methods.base:Method",
)
