"""The translations to be measured: which file, to which domain, and what makes the translation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from img2img import images
from img2img.errors import UsageError
from img2img.infer.translator import Translator


@dataclass(frozen=True)
class Case:
    """One translation to be measured: its input, its target, and its ground truth, if any."""

    name: str
    path: Path
    truth: Path | None = None
    to: str | np.ndarray | None = None  # domain or label vector, where the model has a choice
    source_labels: np.ndarray | None = None  # of the input: where the way back leads
    target: str = ""  # the target domain's name, where translations to several are measured
    further: tuple[Path, ...] = ()  # the files of a model's further inputs


@dataclass(frozen=True)
class Translations:
    """Gives the translation of a case: a model's output, or a file that was translated before."""

    translator: Translator | None = None  # None: the cases' files are the translations
    back: Translator | None = None  # the opposite direction, for cycle metrics

    def __post_init__(self) -> None:
        for model in filter(None, (self.translator, self.back)):
            if model.manifest.has_values:
                raise UsageError(
                    f"{model.manifest.name} translates values, and not photographs: evaluate takes "
                    "it with --a and --b, and nothing else that is about photographs."
                )

    @property
    def channels(self) -> int:
        """Channels of the translations, and so of the real pictures that they are compared with."""
        return self.translator.manifest.out_channels if self.translator else 3

    @property
    def feature_networks(self) -> dict[str, str]:
        """SHA-256 of the feature networks that took part in training the models, by name."""
        models = [model for model in (self.back, self.translator) if model]
        return {
            name: sha256
            for model in models
            for name, sha256 in model.manifest.feature_networks.items()
        }

    def describe(self, folder: str) -> str:
        """For the protocol: the model and how it ran on the folder, or the folder alone."""
        if self.translator is None:
            return folder
        model = self.translator
        runtime = f"on {model.provider} in {model.precision}"
        return f"{model.manifest.name} (sha256 {model.sha256[:16]}, {runtime}) of {folder}"

    def translate(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The case's file and its translation, both uint8 [H, W, C]; the same array twice where
        the file is the translation.
        """
        if self.translator is None:
            pixels = images.read(case.path).pixels
            return pixels, pixels
        pixels = images.read(case.path, self.translator.manifest.in_channels).pixels
        return pixels, self.translator([pixels], to=case.to)[0]

    def reconstruct(self, case: Case, output: np.ndarray) -> np.ndarray | None:
        """The translation uint8 [H, W, C] translated back; None without a model that can."""
        if self.back is None or output.shape[-1] != self.back.manifest.in_channels:
            return None
        reconstruction: np.ndarray = self.back([output], to=case.source_labels)[0]
        return reconstruction
