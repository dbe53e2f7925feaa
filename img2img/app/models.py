"""The models that an application offers, loaded when they are first asked for."""

import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

from img2img.errors import DataError, UsageError
from img2img.files import find_pictures
from img2img.infer import registry, session
from img2img.infer.registry import Entry
from img2img.infer.translator import Translator


class NoModel(DataError):
    """A name that is not offered."""


class Models:
    """Translators by name. What a request names is looked up here and is never a path."""

    def __init__(self, models: Iterable[str], provider: str = "auto"):
        """models: paths or names; without any, all that ship or lie in ./weights and ./runs.

        Raises DataError where there are none, or one that was named is missing or no model.
        """
        entries = [entry for model in models for entry in _both_ways(model)]
        self._paths: dict[str, Path] = {}
        for entry in entries or registry.entries():
            try:
                session.manifest(entry.path)
            except DataError as error:
                if entries:
                    raise
                warnings.warn(f"Left out: {error}", stacklevel=2)
            else:
                self._paths.setdefault(entry.name, entry.path)
        if not self._paths:
            raise DataError("There are no models here. Name some with --model FILE.")
        self.provider = provider
        self._loaded: dict[str, Translator] = {}
        self._loading = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    def examples(self, name: str) -> list[Path]:
        """Pictures to try it on, where its folder has examples/NAME/."""
        folder = self._paths[name].parent / "examples" / self._paths[name].stem
        return list(find_pictures(folder)) if folder.is_dir() else []

    def get(self, name: str) -> Translator:
        """NoModel for a name that is not offered."""
        if name not in self._paths:
            raise NoModel(f"There is no model {name!r}. Offered: {', '.join(self._paths)}.")
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = Translator(self._paths[name], self.provider)
            return self._loaded[name]


def _both_ways(model: str) -> list[Entry]:
    """The model of that path or name; of a run with two directions both."""
    try:
        return [registry.find(model)]
    except UsageError:
        return [registry.find(model, direction) for direction in ("ab", "ba")]
