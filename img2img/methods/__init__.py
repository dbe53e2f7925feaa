"""Methods: the networks and losses of a paper. A new one is a file here and a word in METHODS."""

from img2img.methods.base import Method
from img2img.methods.cyclegan import CycleGAN
from img2img.methods.pix2pix import Pix2Pix
from img2img.methods.stargan import StarGAN

METHODS: dict[str, type[Method]] = {method.name: method for method in (Pix2Pix, CycleGAN, StarGAN)}
