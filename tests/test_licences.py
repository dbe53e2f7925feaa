"""What is installed carries the licences of what it consists of."""

from importlib import metadata
from pathlib import Path


def test_the_licences_of_pictures_and_weights_are_installed():
    names = {Path(file).name for file in metadata.files("img2img")}
    assert {"LICENSE", "NOTICE.md", "LICENSE-Apache-2.0"} <= names
