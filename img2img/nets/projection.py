"""The projection heads of CUT, which embed features of patches (Park et al. 2020, section 3.2)."""

from collections.abc import Sequence

from torch import Tensor, nn


class PatchProjection(nn.Module):
    """Feature maps [N, C_l, H_l, W_l] of several layers, and flat indices int64 [P_l] of positions
    in each of them -> embeddings [N, P_l, width] of the features at these positions.

    Each feature map has a head of two linear layers with a ReLU between them. State-dict keys are
    those of the published code.
    """

    def __init__(self, channels: Sequence[int], width: int = 256):
        """channels: C_l of every feature map."""
        super().__init__()
        for number, count in enumerate(channels):
            head = nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width))
            self.add_module(f"mlp_{number}", head)

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        layers = zip(self.children(), features, places, strict=True)
        return [
            head(feature.flatten(2).index_select(2, positions).transpose(1, 2))
            for head, feature, positions in layers
        ]
