"""A trained model as a function from pictures to pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from img2img import images as files
from img2img.errors import UsageError
from img2img.infer import registry
from img2img.infer.session import Provider, load
from img2img.manifest import Manifest

MAX_BATCH = 8
One = np.ndarray | str | Path  # pixels, or a file with them
To = str | Sequence[str] | np.ndarray | None


class Translator:
    """Translates uint8 pictures of any size: `Translator("flat-to-3d")(array_or_path_or_list)`.

    model: a bundle's path, or the name of a shipped model or a run. Raises DataError for a model
    that is missing or unusable, DeviceError for a provider that does not bind. together: pictures
    of one size that run at once. Several threads may call one translator at once.
    """

    manifest: Manifest

    def __init__(
        self,
        model: str | Path,
        provider: Provider = "auto",
        direction: str | None = None,
        threads: int | None = None,
        together: int = MAX_BATCH,
    ):
        self.path, self.threads = registry.find(model, direction).path, threads
        loaded = load(self.path, provider, threads)
        registry.require_direction(direction, loaded.manifest.direction, self.path)
        self.manifest, self.provider, self.sha256 = loaded.manifest, loaded.provider, loaded.sha256
        self.precision = loaded.precision
        self._session = loaded.session
        # OpenVINO's bf16 kernels round several pictures otherwise than one, and are no faster.
        self._together = 1 if self.provider == "openvino" else together

    @overload
    def __call__(self, images: One, to: To = None) -> np.ndarray: ...
    @overload
    def __call__(self, images: Sequence[One], to: To = None) -> list[np.ndarray]: ...

    def __call__(self, images: One | Sequence[One], to: To = None) -> np.ndarray | list[np.ndarray]:
        """A picture uint8 [H, W, in_channels], or the path of one -> uint8 [H, W, out_channels];
        several -> a list of as many, in order.

        to: the target domain, names of attributes, or a label vector float32 [labels.width]; only
        for models with domains. Pictures of one size run together, so many at once; the result is
        the same as one by one. Raises DataError for a file that is no picture, UsageError for a
        wrong domain, ValueError for an array of another kind.
        """
        if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
            return self._all([self._pixels(images)], self.domain(to))[0]
        return self._all([self._pixels(image) for image in images], self.domain(to))

    def _all(self, images: list[np.ndarray], domain: np.ndarray | None) -> list[np.ndarray]:
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(index)
        results: list[np.ndarray] = [np.empty(0)] * len(images)
        for indices in by_size.values():
            for start in range(0, len(indices), self._together):
                some = indices[start : start + self._together]
                for index, result in zip(
                    some, self._run([images[i] for i in some], domain), strict=True
                ):
                    results[index] = result
        return results

    def domain(self, to: To) -> np.ndarray | None:
        """The label vector, float32 [D], for a domain's name; UsageError for a wrong one.

        No names at all, or "none": a picture with none of the (first set of) attributes.
        """
        labels = self.manifest.labels
        if isinstance(to, np.ndarray):
            if to.shape != (labels.width,):
                raise UsageError(f"{self.manifest.name} takes label vectors of {labels.width}.")
            return to
        if not labels.sets:
            if to:
                raise UsageError(f"{self.manifest.name} has no domains to choose from: no --to.")
            return None
        names = [to] if isinstance(to, str) else list(to or ())
        nothing = to == "none" or (to is not None and not names)
        if to in labels.names:
            wanted = {to}  # its name may have a comma
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
        inputs = {"image": np.stack(images)}
        if domain is not None:
            inputs["domain"] = np.tile(domain, (len(images), 1))
        return self._session.run(None, inputs)[0]

    def _pixels(self, image: One) -> np.ndarray:
        """Of an array that is checked, or of a file, upright and in sRGB, on white."""
        channels = self.manifest.in_channels
        if isinstance(image, str | Path):
            return files.read(Path(image), channels).pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels:
            raise ValueError(
                f"expected uint8 [H, W, {channels}], got {image.dtype} {list(image.shape)}"
            )
        return image
