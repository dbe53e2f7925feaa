"""What is in the body of a request."""

import pytest

from img2img.app.body import Body


@pytest.mark.parametrize(
    ("sent", "plain"),
    [
        ("", "translated"),
        ("07.tif", "07"),
        ("brain.nii.gz", "brain"),
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\My scan (1).dcm", "My-scan-1"),
        ('a"\r\nSet-Cookie: b.tif', "a-Set-Cookie-b"),
        ("π.tif", "translated"),
        (".hidden", "hidden"),
        ("x" * 500, "x" * 100),
    ],
)
def test_names_of_files_become_plain_ones(sent, plain):
    assert Body(None, {"image": (sent, b"")}, {}).file_name("image") == plain
