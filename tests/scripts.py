"""Import the build scripts of examples/, which are no packages, and write archives for them."""

import importlib
import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(script: str) -> ModuleType:
    """`earth/build.py` as a module, with the modules beside it."""
    file = EXAMPLES / script
    before = list(sys.path)
    sys.path.insert(0, str(file.parent))
    try:
        spec = importlib.util.spec_from_file_location(script.replace("/", "_")[:-3], file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def tar(files: dict[str, bytes], mode: str) -> bytes:
    """A tar archive; mode as of tarfile: w:gz or w:xz."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
