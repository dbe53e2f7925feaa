"""Runtimes that are out of memory: each says so in words of its own."""

import re

from img2img.errors import Img2ImgError

# Of onnxruntime on CPUs and GPUs, CUDA with its libraries, DirectML and OpenVINO.
WORDS = re.compile(
    r"bad.?alloc|out of memory|(failed|unable|could not|cannot) (to )?allocate|not enough memory"
    r"|available memory of \d+ is smaller than|alloc(ation)?_failed|8007000e",
    re.IGNORECASE,
)


class OutOfMemory(Img2ImgError):
    """The memory is not sufficient for a picture."""


def is_exhausted(error: Exception) -> bool:
    """Whether a runtime's error says that memory is not sufficient."""
    return isinstance(error, MemoryError | OutOfMemory) or bool(WORDS.search(str(error)))
