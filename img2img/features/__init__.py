"""Frozen networks that were trained on photographs: what they compute from a picture.

Evaluation measures distances on their features; critics and losses of training build on them.
"""

from img2img.features.base import FeatureNetwork
from img2img.features.channel_weights import channel_weights
from img2img.features.channels import three_channels
from img2img.features.network import NetworkName, feature_network, feature_sha256

__all__ = [
    "FeatureNetwork",
    "NetworkName",
    "channel_weights",
    "feature_network",
    "feature_sha256",
    "three_channels",
]
