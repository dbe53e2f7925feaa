"""What a wheel carries beside the package: the models and the quickstart's sample, where they are.

A checkout has them, so `pip install .` brings them. The archive of sources (sdist) has no models,
so a wheel that is built from it, as releases are, has none either: they are in the package
img2img-gan-models (packages/models).
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = {
    "weights": "img2img/shipped/weights",
    "examples/quickstart": "img2img/shipped/quickstart",
}


class Shipped(BuildHookInterface):
    """Adds the folders that are there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # uses them in place
            return
        for source, target in FOLDERS.items():
            folder = Path(self.root, source)
            if folder.is_dir():
                build_data["force_include"][str(folder)] = target
