"""Feature networks by name."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from img2img.errors import UsageError
from img2img.features import lite
from img2img.features.base import FeatureNetwork
from img2img.features.efficientnet import VARIANTS
from img2img.features.user_network import SUFFIXES, UserNetwork
from img2img.features.weights import sha256


def absolute_name(name: str) -> str:
    """The name, or the absolute path of a file, so that a run can be continued from any folder.

    Raises ValueError for a name that is neither one of a Lite nor one of a file.
    """
    try:
        return str(Path(name).absolute()) if _is_file(name) else name
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None


NetworkName = Annotated[str, AfterValidator(absolute_name)]  # the type of a setting


def feature_network(name: str, stages: tuple[int, ...] | None = None) -> FeatureNetwork:
    """The network by its name: efficientnet-lite0, efficientnet-lite1, efficientnet-lite2, or the
    path of an ONNX or TorchScript file.

    stages: of a Lite, the indices from 0 of the stages whose outputs are the features, by default
    1, 2, 4 and 6; what follows the last of them is not computed. Of a file, the indices of its
    four-dimensional outputs, by default all.

    The weights of a Lite are in memory once, whatever the number of its networks on the CPU.

    Raises UsageError for an unknown name, for stages that the network does not have, and where a
    package is missing; DataError for a file that is not the published one, or does not work as a
    feature network (see `UserNetwork`).
    """
    if _is_file(name):
        return UserNetwork(name, stages)
    return lite.LiteFeatures(name, lite.STAGES if stages is None else stages)


def feature_sha256(name: str) -> str:
    """SHA-256 of the file of `feature_network(name)`. Raises like that function, but does not open
    the network.
    """
    return sha256(Path(name)) if _is_file(name) else VARIANTS[name].sha256


def _is_file(name: str) -> bool:
    """Whether the name is one of a file, in place of a Lite. Raises UsageError if it is neither."""
    if name not in VARIANTS and not name.lower().endswith(SUFFIXES):
        raise UsageError(
            f"There is no feature network {name}. Available: {', '.join(VARIANTS)}, or a file "
            f"whose name ends in {', '.join(SUFFIXES)}."
        )
    return name not in VARIANTS
