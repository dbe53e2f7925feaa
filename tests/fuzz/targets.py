"""The fronts at which files and requests of strangers arrive: what takes their bytes, and in which
errors it may refuse them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz import models, readers, server, texts
from img2img.errors import DataError, UsageError

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 10.0  # seconds that a case may take
MOST_MEMORY = 2048  # MiB that the process may take


@dataclass(frozen=True)
class Target:
    """Takes bytes. Any exception that is none of `refusals` is a bug."""

    take: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...] = (DataError,)

    def accepts(self, content: bytes) -> bool:
        """Whether the content was taken, and not refused."""
        try:
            self.take(content)
        except self.refusals:
            return False
        return True


# By the name of the folder of CORPUS with the files that cases are made from.
TARGETS = {
    "photograph": Target(readers.photograph),
    "tiff": Target(readers.values),
    "array": Target(readers.values),
    "deep-png": Target(readers.values),
    "dicom": Target(readers.values),
    "nifti": Target(readers.values),
    "bundle": Target(models.bundle),
    "openvino": Target(models.openvino),
    "manifest": Target(models.manifest),
    "checkpoint": Target(models.checkpoint_file),
    "weights": Target(models.weights),
    "published": Target(models.published_file, (DataError, UsageError)),
    "attributes": Target(texts.attributes),
    "config": Target(texts.config, (DataError, UsageError)),
    "run-config": Target(texts.run_config),
    "record": Target(texts.record, ()),
    "zip": Target(texts.zip_file),
    "shard": Target(texts.shard),
    "connection": Target(server.connection),
    "form": Target(server.form),
    "json": Target(server.json_body),
}
