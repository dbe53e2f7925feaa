"""What is installed carries the licences of what it consists of."""

from importlib import metadata
from pathlib import Path


def test_the_licences_of_pictures_and_weights_are_installed():
    ends = {Path(file).parts[-2:] for file in metadata.files("img2img-gan")}
    notices = {("emoji", "NOTICE.md"), ("emoji", "LICENSE-Apache-2.0"), ("earth", "NOTICE.md")}
    assert notices | {("licenses", "LICENSE")} <= ends
