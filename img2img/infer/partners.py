"""The files of a model's further inputs, each of which belongs to one of its first input."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from img2img.errors import DataError, UsageError
from img2img.files import PassedOver, by_name, stem


class Partners:
    """Finds the further files of a picture: in folders those of the same relative path without
    suffix, else the files that were given.

    alone: the files of the first folder without one of the same name in a further one, each with
    the reason. passed_over: what is no picture in the further folders.
    """

    def __init__(self, inputs: Sequence[str], out: Path):
        """inputs: a folder for each input of the model, or a file, in their order.

        Raises UsageError for a mixture of folders and files, and DataError for an input that is
        missing, and for a further folder that is `out` itself, has no pictures, or has two of one
        name.
        """
        for name in inputs:
            if not os.path.exists(name):
                raise DataError(f"There is no file or folder {name}.")
        self._first, *self._further = inputs
        self._are_folders = os.path.isdir(self._first)
        if any(os.path.isdir(name) != self._are_folders for name in self._further):
            raise UsageError(
                "The inputs must be a folder of each, or a file of each: "
                f"{', '.join(inputs)} are folders and files."
            )
        for name in self._further:
            if self._are_folders and os.path.realpath(name) == os.path.realpath(out):
                raise DataError(f"{name} is also the output folder. Choose another one with -o.")
        folders = map(Path, self._further) if self._are_folders else ()
        self.passed_over = PassedOver()
        self.alone: list[tuple[str, str]] = []
        self._by_name = [by_name(folder, self.passed_over) for folder in folders]
        self._seen: dict[str, str] = {}  # files of the first folder by name

    def of(self, source: str, relative: str) -> tuple[str, ...] | None:
        """The further files of one of the first input, in order; None, and an entry in `alone`, if
        one is missing. relative: its path in the first folder. Raises DataError for a second file
        of the same name.
        """
        if not self._are_folders:
            return tuple(self._further)
        name = stem(Path(relative), Path())
        if name in self._seen:
            raise DataError(
                f"{self._seen[name]} and {source} have the same name without suffix, so it is not "
                "clear which of them to pair. Remove one."
            )
        self._seen[name] = source
        for folder, files in zip(self._further, self._by_name, strict=True):
            if name not in files:
                self.alone.append((source, f"there is no file of the same name in {folder}"))
                return None
        return tuple(str(files[name]) for files in self._by_name)

    def notes(self) -> dict[str, dict[str, Any]]:
        """A remark, as in `Summary.notes`, on the files of further folders whose name no file of
        the first one has, of those that `of` was called for; none if there are no such files.
        """
        unused = [
            str(path)
            for files in self._by_name
            for name, path in files.items()
            if name not in self._seen
        ]
        kind = "left out, since the first input has none of that name"
        return {kind: {"pictures": len(unused), "first": unused[0]}} if unused else {}
