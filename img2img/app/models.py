"""The models that an application offers, loaded when they are first used."""

import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

from img2img.errors import DataError, UsageError
from img2img.files import find_pictures
from img2img.infer import registry, session
from img2img.infer.registry import Entry
from img2img.infer.translator import Translator
from img2img.manifest import Manifest


class NoModel(DataError):
    """There is no model of this name."""


class Models:
    """Translators by name. Names in requests are only looked up here, and are never paths."""

    def __init__(self, models: Iterable[str], provider: str = "auto", precision: str = "auto"):
        """models: paths or names; by default the shipped ones and those in ./weights and ./runs.

        Raises DataError where there are none, or where a named one is missing or not a model.
        """
        entries = [entry for model in models for entry in _both_ways(model)]
        self._paths: dict[str, Path] = {}
        self._manifests: dict[str, Manifest] = {}
        for entry in entries or registry.entries():
            try:
                manifest = session.manifest(entry.path)
            except DataError as error:
                if entries:
                    raise
                warnings.warn(f"Left out: {error}", stacklevel=2)
            else:
                self._paths.setdefault(entry.name, entry.path)
                self._manifests.setdefault(entry.name, manifest)
        if not self._paths:
            raise DataError("There are no models here. Name some with --model FILE.")
        self.provider, self.precision = provider, precision
        self._loaded: dict[str, Translator] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    @property
    def most_files(self) -> int:
        """The largest number of files of values that one of the models takes for a picture."""
        taken = [manifest.intensity_in for manifest in self._manifests.values()]
        return max(len(intensity.inputs) if intensity else 0 for intensity in taken)

    def examples(self, name: str) -> list[Path]:
        """Example inputs of a model that takes photographs: the pictures in examples/NAME/ beside
        it.
        """
        if self._manifests[name].intensity_in:
            return []
        folder = self._paths[name].parent / "examples" / self._paths[name].stem
        return list(find_pictures(folder)) if folder.is_dir() else []

    def get(self, name: str) -> Translator:
        """The model's translator. Raises NoModel for an unknown name."""
        if name not in self._paths:
            raise NoModel(f"There is no model {name!r}. Models: {', '.join(self._paths)}.")
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = Translator(
                    self._paths[name], self.provider, precision=self.precision
                )
            return self._loaded[name]


def _both_ways(model: str) -> list[Entry]:
    """The model of this path or name; both models of a run with two directions."""
    try:
        return [registry.find(model)]
    except UsageError:
        return [registry.find(model, direction) for direction in ("ab", "ba")]
