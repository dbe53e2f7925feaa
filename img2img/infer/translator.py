"""A trained model as a function from pictures to pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from img2img.errors import UsageError
from img2img.infer import registry
from img2img.infer.session import Provider, load
from img2img.manifest import Manifest

MAX_BATCH = 8


class Translator:
    """Translates uint8 pictures of any size: `Translator("flat-to-3d")([array])`.

    model: a bundle's path, or the name of a shipped model or a run. Raises DataError for a model
    that is missing or unusable, DeviceError for a provider that does not bind.
    """

    manifest: Manifest

    def __init__(
        self,
        model: str | Path,
        provider: Provider = "auto",
        direction: str | None = None,
        threads: int | None = None,
    ):
        loaded = load(registry.find(model, direction).path, provider, threads)
        self.manifest, self.provider, self.sha256 = loaded.manifest, loaded.provider, loaded.sha256
        self._session = loaded.session

    def __call__(
        self, images: Sequence[np.ndarray], to: str | Sequence[str] | np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Pictures uint8 [H, W, in_channels] -> as many uint8 [H, W, out_channels], in order.

        to: the target domain, names of attributes, or a label vector float32 [labels.width]; only
        for models with domains. Pictures of one size run together, up to 8 at once; the result is
        the same as one by one.
        """
        domain = self.domain(to)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            self._check(image)
            by_size.setdefault(image.shape, []).append(index)
        results: list[np.ndarray] = [np.empty(0)] * len(images)
        for indices in by_size.values():
            for start in range(0, len(indices), MAX_BATCH):
                some = indices[start : start + MAX_BATCH]
                for index, result in zip(
                    some, self._run([images[i] for i in some], domain), strict=True
                ):
                    results[index] = result
        return results

    def domain(self, to: str | Sequence[str] | np.ndarray | None) -> np.ndarray | None:
        """The label vector, float32 [D], for a domain's name; UsageError for a wrong one."""
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
        if to in labels.names:
            wanted = {to}  # its name may have a comma
        else:
            wanted = {part for name in names for part in map(str.strip, name.split(",")) if part}
        for number, labelled in enumerate(labels.sets):
            one = labelled.kind == "classes"
            if wanted and wanted <= set(labelled.domains) and (len(wanted) == 1 or not one):
                return labels.vector(number, wanted)
        choices = " or ".join(
            f"{'one of' if labelled.kind == 'classes' else 'any of (with commas)'}: "
            f"{', '.join(labelled.domains)}"
            for labelled in labels.sets
        )
        raise UsageError(f"{self.manifest.name} translates --to {choices}.")

    def _run(self, images: list[np.ndarray], domain: np.ndarray | None) -> np.ndarray:
        inputs = {"image": np.stack(images)}
        if domain is not None:
            inputs["domain"] = np.tile(domain, (len(images), 1))
        return self._session.run(None, inputs)[0]

    def _check(self, image: np.ndarray) -> None:
        channels = self.manifest.in_channels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels:
            raise ValueError(
                f"expected uint8 [H, W, {channels}], got {image.dtype} {list(image.shape)}"
            )
