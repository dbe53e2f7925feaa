"""The translations to be measured: which file, to which domain, and what makes the translation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from img2img import images
from img2img.infer.translator import Translator
from img2img.intensity import Intensity
from img2img.manifest import Manifest
from img2img.rasters.pages import read as read_picture
from img2img.show import declared
from img2img.stored import read_stored, read_values


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


class Kinds(NamedTuple):
    """What the values of inputs and translations mean, where they are no photographs."""

    inputs: Intensity | None = None
    outputs: Intensity | None = None

    @classmethod
    def of(cls, manifest: Manifest | None, show: Sequence[str] = ()) -> "Kinds":
        """Those of a model, with the false colors that the setting `show` declares in place of the
        model's; none without a model. Raises UsageError for bands and stretches that can't be had.
        """
        if manifest is None or not manifest.has_values:
            declared(show, {})  # photographs are shown as they are
            return cls()
        source, target = ("b", "a") if manifest.direction == "ba" else ("a", "b")
        both = {source: manifest.intensity_in, target: manifest.intensity_out}
        known = declared(show, {side: each for side, each in both.items() if each})
        return cls(known.get(source), known.get(target))

    def shown_as(self, others: "Kinds") -> "Kinds":
        """The same, shown as the others are, where these have the same bands."""
        pairs = zip(self, others, strict=True)
        return Kinds(
            *(
                mine.model_copy(update={"show": other.false_colors})
                if mine and other and mine.bands == other.bands
                else mine
                for mine, other in pairs
            )
        )

    def describe(self) -> str:
        """How values are shown, in words; "" of photographs."""
        names = zip(("inputs", "outputs"), self, strict=True)
        return "; ".join(f"{name} {kind.describe_show()}" for name, kind in names if kind)


@dataclass(frozen=True)
class Translations:
    """Gives the translation of a case: a model's output, or a file that was translated before.

    Translations are uint8 [H, W, C] of photographs, or values float64 [H, W, bands], NaN where
    pixels are missing; `look` gives what is seen of them.
    """

    translator: Translator | None = None  # None: the cases' files are the translations
    back: Translator | None = None  # the opposite direction, for cycle metrics
    given: Kinds | None = None  # None: the model's, or photographs

    @property
    def kinds(self) -> Kinds:
        """What inputs and translations mean, if they are no photographs."""
        if self.given or self.translator is None:
            return self.given or Kinds()
        return Kinds.of(self.translator.manifest)

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
        """The case's file as it is seen, uint8 [H, W, C], and its translation; the same picture
        twice where the file is the translation.
        """
        if self.translator is None:
            output = self.read(case.path)
            return self.look(output), output
        kind, missing = self.kinds.inputs, None
        if kind:
            stored = read_stored((case.path, *case.further), kind)
            pixels, missing = stored.values, stored.missing
        else:
            pixels = images.read(case.path, self.translator.manifest.in_channels).pixels
        output = self.translator([pixels], to=case.to)[0]
        if self.kinds.outputs:
            output = _unknown_where(self.kinds.outputs.missing(output), output)
            output = output if missing is None else _unknown_where(missing, output)
        return kind.shown(pixels) if kind else pixels, output

    def pictures(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The case's file and its translation as they are seen, both uint8 [H, W, C]."""
        source, output = self.translate(case)
        return source, self.look(output)

    def read(self, path: Path) -> np.ndarray:
        """A picture of the target domain, as translations are. Raises DataError for a file that is
        none, or of another type or number of bands than those of the model.
        """
        kind = self.kinds.outputs
        if kind is None:
            return images.read(path, self.channels).pixels
        if self.translator:
            return read_values(path, kind).astype(np.float64)
        raster = read_picture(path)
        if raster.missing is None:
            return raster.values.astype(np.float64)
        return _unknown_where(raster.missing, raster.values)

    def look(self, translation: np.ndarray) -> np.ndarray:
        """A translation, or what `read` gives, as it is seen: uint8 [H, W, C]."""
        return self.kinds.outputs.shown(translation) if self.kinds.outputs else translation

    def reconstruct(self, case: Case, output: np.ndarray) -> np.ndarray | None:
        """The translation uint8 [H, W, C] translated back; None without a model that can."""
        if self.back is None or output.shape[-1] != self.back.manifest.in_channels:
            return None
        reconstruction: np.ndarray = self.back([output], to=case.source_labels)[0]
        return reconstruction


def _unknown_where(missing: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [H, W, bands] as float64, NaN where pixels are missing, bool [H, W]."""
    return np.where(missing[..., None], np.nan, values.astype(np.float64))
