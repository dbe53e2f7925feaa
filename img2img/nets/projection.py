"""The projection heads of CUT (Park et al. 2020, section 3.2): features of patches, embedded."""

from collections.abc import Sequence

from torch import Tensor, nn


class PatchProjection(nn.Module):
    """Feature maps [N, C_l, H_l, W_l] of several layers, and places int64 [P_l] in each of them,
    counted row by row -> embeddings [N, P_l, width] of the features at these places.

    A layer has two linear layers with a ReLU between them. The state dict's keys are those of the
    published code.
    """

    def __init__(self, channels: Sequence[int], width: int = 256):
        """channels: C_l of every layer."""
        super().__init__()
        for number, count in enumerate(channels):
            head = nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width))
            self.add_module(f"mlp_{number}", head)

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        layers = zip(self.children(), features, places, strict=True)
        return [
            head(layer.flatten(2).index_select(2, chosen).transpose(1, 2))
            for head, layer, chosen in layers
        ]
