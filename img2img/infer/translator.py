"""A trained model as a function from pictures to pictures."""

import math
import sys
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, SupportsFloat, cast, overload

import numpy as np

from img2img import memory
from img2img.errors import OutOfMemory, UsageError
from img2img.infer import registry
from img2img.infer.inputs import One, is_one, label_of, pixels_of
from img2img.infer.session import load, read
from img2img.manifest import Manifest

MAX_BATCH = 8
To = str | Sequence[str] | Sequence[SupportsFloat] | np.ndarray | None


class Translator:
    """Translates uint8 pictures of any size: `Translator("flat-to-3d")(array_or_path_or_list)`.

    Several threads may call one translator at the same time, and it can be pickled.

    Args:
        model: a bundle's path, or the name of a shipped model or of a run.
        provider: "auto" or one of img2img.infer.session.Provider.
        direction: "ab" or "ba", where the model has both.
        threads: of one operator on the CPU, by default all cores that the process may use.
        together: how many pictures of one size run in one batch, at most.
        precision: of the computation: "fp32", "fp16" on NVIDIA's GPUs, or "auto", the fastest one
            whose PSNR at export was at least 45 dB.
        content: of the model's file, where `model` is its path on another machine.

    Raises DataError for a model that is missing or unusable, UsageError for an unknown provider or
    precision, and DeviceError for a provider that is not available or lacks the precision.
    """

    manifest: Manifest

    def __init__(
        self,
        model: str | Path,
        provider: str = "auto",
        direction: str | None = None,
        threads: int | None = None,
        together: int = MAX_BATCH,
        precision: str = "auto",
        content: bytes | None = None,
    ):
        self.path = Path(model) if content else registry.find(model, direction).path
        self._wanted, self.threads, self._most = provider, threads, together
        self._wanted_precision, self._content = precision, content
        opened = load(self.path, provider, threads, content, precision)
        self.manifest, self.provider, self.sha256 = opened.manifest, opened.provider, opened.sha256
        self.precision = opened.precision
        self._session = opened.session
        registry.require_direction(direction, self.manifest.direction, self.path)
        # OpenVINO's bf16 kernels round a batch differently from one picture, and are no faster.
        self._together = 1 if self.provider == "openvino" else self._most
        self._too_large = sys.maxsize  # pixels of a batch for which the memory was not sufficient

    def __reduce__(self) -> tuple[Any, ...]:
        """With the file's content, because another machine may not have the file; that chooses the
        provider again.
        """
        content = self._content or read(self.path)
        options = (self._wanted, None, self.threads, self._most, self._wanted_precision)
        return Translator, (self.path, *options, content)

    @overload  # a str is a sequence of strings, too
    def __call__(self, images: One, to: To = None) -> np.ndarray: ...  # type: ignore[overload-overlap]
    @overload  # one picture for a model with several inputs, else several pictures
    def __call__(  # type: ignore[overload-overlap]  # a tuple is a sequence, too
        self, images: tuple[One, ...], to: To = None
    ) -> np.ndarray | list[np.ndarray]: ...
    @overload
    def __call__(
        self, images: Sequence[One] | Sequence[tuple[One, ...]], to: To = None
    ) -> list[np.ndarray]: ...

    def __call__(
        self,
        images: One | tuple[One, ...] | Sequence[One] | Sequence[tuple[One, ...]],
        to: To = None,
    ) -> np.ndarray | list[np.ndarray]:
        """A picture -> uint8 [H, W, out_channels], or the stored type of the manifest's intensity;
        several -> a list of as many, in order.

        images: the path or the bytes of a file, an open file, a PIL image, pixels uint8
        [H, W, in_channels] of numpy or of torch on the CPU; a list of these, or an array
        [N, H, W, in_channels]. For a model with several inputs, a picture is a tuple with one of
        these for each part of the manifest's intensity_in, in their order and of their types, or an
        array with the bands of all. to: the target domain, names of attributes, or a label vector
        [labels.width]; only for models with domains. Pictures of one size run together, so many at
        once, or fewer if the memory is not sufficient; the result is the same as one by one.

        Raises OutOfMemory where it is not sufficient for one picture, DataError for a file that is
        no picture, and for a tuple of another length or of different sizes, UsageError for a wrong
        domain, ValueError for an array of another kind, TypeError for what is no picture.
        """
        form = self.manifest.in_channels, self.manifest.intensity_in
        if is_one(images, self.manifest.intensity_in):
            one = cast(One | tuple[One, ...], images)
            return self._all([pixels_of(one, *form)], self.domain(to))[0]
        several = cast(Iterable[One | tuple[One, ...]], images)
        return self._all([pixels_of(image, *form) for image in several], self.domain(to))

    def _all(self, images: list[np.ndarray], domain: np.ndarray | None) -> list[np.ndarray]:
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(index)
        results: list[np.ndarray] = [np.empty(0)] * len(images)
        for shape, indices in by_size.items():
            left = indices
            while left:
                fitting = (self._too_large - 1) // math.prod(shape[:2])
                batch = left[: max(1, min(self._together, fitting))]
                try:
                    outputs = self._run([images[index] for index in batch], domain)
                except OutOfMemory:
                    if len(batch) == 1:
                        raise
                    self._too_large = len(batch) * math.prod(shape[:2])
                    continue
                for index, result in zip(batch, outputs, strict=True):
                    results[index] = result
                left = left[len(batch) :]
        return results

    def domain(self, to: To) -> np.ndarray | None:
        """The label vector float32 [D] of a domain, attributes or a vector; None for a model
        without domains. Raises UsageError for a wrong one.

        An empty list or "none" means none of the attributes (of the first set that has any).
        """
        labels = self.manifest.labels
        if to is not None and labels.sets and not _are_names(to):
            return label_of(to, labels.width, self.manifest.name)
        if not labels.sets:
            if to is not None and not (isinstance(to, Sized) and len(to) == 0):
                raise UsageError(f"{self.manifest.name} has no domains to choose from: omit --to.")
            return None
        names = [to] if isinstance(to, str) else list(to) if to is not None else []
        nothing = to == "none" or (to is not None and not names)
        if isinstance(to, str) and to in labels.names:
            wanted = {to}  # a domain's name may contain a comma
        elif nothing:
            wanted = set()
        else:
            wanted = {part for name in names for part in map(str.strip, name.split(",")) if part}
        for number, labelled in enumerate(labels.sets):
            enough = len(wanted) == 1 if labelled.kind == "classes" else wanted or nothing
            if enough and wanted <= set(labelled.domains):
                return labels.vector(number, wanted)
        choices = " or ".join(
            f"{'one of' if labelled.kind == 'classes' else 'none or any of (with commas)'}: "
            f"{', '.join(labelled.domains)}"
            for labelled in labels.sets
        )
        raise UsageError(f"{self.manifest.name} translates --to {choices}.")

    def _run(self, images: list[np.ndarray], domain: np.ndarray | None) -> np.ndarray:
        try:
            inputs = {"image": np.stack(images)}
            if domain is not None:
                inputs["domain"] = np.tile(domain, (len(images), 1))
            return self._session.run(None, inputs)[0]
        except Exception as error:  # the runtimes' types
            if not memory.is_exhausted(error):
                raise
        height, width = images[0].shape[:2]
        raise OutOfMemory(
            f"{width}x{height} needs more memory than the provider {self.provider} has left. Make "
            "the picture smaller, or choose another provider."
        )


def _are_names(to: To) -> bool:
    if isinstance(to, str):
        return True
    if isinstance(to, np.ndarray):
        return to.dtype.kind == "U"
    return isinstance(to, Sequence) and all(isinstance(name, str) for name in to)
