"""The networks of the papers, with the state-dict keys of the published checkpoints.

A row of these tables is the class of a network's settings, which builds the network. Importing this
module does not import torch; looking up a row does.
"""

from typing import TYPE_CHECKING

from img2img.table import Table

if TYPE_CHECKING:
    from img2img.nets.discriminator import DiscriminatorConfig
    from img2img.nets.generator import GeneratorConfig

GENERATORS: "Table[type[GeneratorConfig]]" = Table(
    "generator",
    "img2img.generators",
    {
        "unet": "img2img.nets.unet:UNetConfig",
        "resnet": "img2img.nets.resnet:ResNetConfig",
        "attention-unet": "img2img.nets.attention_unet:AttentionUNetConfig",
        "stargan": "img2img.nets.stargan:StarGeneratorConfig",
        "modulated": "img2img.nets.modulated:ModulatedConfig",
    },
    base="img2img.nets.generator:GeneratorConfig",
)
DISCRIMINATORS: "Table[type[DiscriminatorConfig]]" = Table(
    "discriminator",
    "img2img.discriminators",
    {
        "patch": "img2img.nets.patchgan:PatchConfig",
        "pixel": "img2img.nets.patchgan:PixelConfig",
        "autoencoder": "img2img.nets.autoencoder:AutoEncoderConfig",
        "projected": "img2img.nets.projected:ProjectedConfig",
        "multiscale": "img2img.nets.multiscale:MultiScaleConfig",
        "unet": "img2img.nets.unet_critic:UNetCriticConfig",
        "mixture": "img2img.nets.mixture:MixtureConfig",
        "stargan": "img2img.nets.stargan:StarDiscriminatorConfig",
    },
    base="img2img.nets.discriminator:DiscriminatorConfig",
)
