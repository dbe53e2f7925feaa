"""Which pictures run in tiles, and of which size."""

import math

import numpy as np

from img2img import memory
from img2img.errors import UsageError
from img2img.infer.room import TILES, Room
from img2img.infer.session import ON_CPU
from img2img.infer.tile import Tiler
from img2img.infer.translator import Translator

ELSEWHERE = "--provider cpu computes in the machine's memory"


class Tilers:
    """The tilers of a translator, which are made when they are needed."""

    def __init__(self, translator: Translator, side: int | None, norm_tiles: int | None):
        """side: of tiles, px, for pictures that are larger; None: tiles only for pictures that
        don't fit into memory. norm_tiles: as in `Tiler`.
        """
        self.translator, self.side, self.norm_tiles = translator, side, norm_tiles
        self.room = Room(translator)
        self._tilers: dict[int, Tiler] = {}
        self._too_large = math.inf  # pixels of a picture that did not run whole
        self._too_wide = math.inf  # px, side of tiles that did not run

    def of(self, side: int | None) -> Tiler:
        """With tiles of this side, px, or else of that which was chosen, or of one that fits into
        memory. Raises UsageError for a model that can't run in tiles.
        """
        side = side or self.side
        if side is None:
            side = self.room.tile_side(self.translator.manifest.reach or 0)
            side = min(side, max(self._smaller(), default=min(TILES)))
        if side not in self._tilers:
            self._tilers[side] = Tiler(self.translator, side, self.norm_tiles)
        return self._tilers[side]

    def for_size(self, height: int, width: int) -> tuple[Tiler | None, str | None]:
        """The tiler for a picture of this size; None where it runs whole, or, with a reason, where
        it can't run.
        """
        if self.side:
            tiler = self.of(self.side)
            if tiler.side >= self._too_wide:
                return None, self.too_large_tiles()
            if max(height, width) > tiler.whole_side:
                return tiler, None
        if height * width >= self._too_large:
            reason: str | None = self._reason(height, width)
            if not self._smaller():
                return None, reason
        else:
            reason = self.room.refusal(height, width)
        if reason and self.translator.manifest.reach is not None:
            try:
                return self.of(None), None
            except UsageError as error:  # a package is missing
                return None, f"{reason}. {error}"
        return None, reason

    def translate(
        self, pictures: list[np.ndarray], domain: np.ndarray | None
    ) -> tuple[list[np.ndarray], tuple[str, ...], str | None]:
        """The results for pictures [H, W, bands] of one size, with notes, or the reason why there
        are none. If the memory is not sufficient, they run in tiles that get smaller until it is.
        """
        height, width = pictures[0].shape[:2]
        while True:
            tiler, reason = self.for_size(height, width)
            if reason:
                return [], (), reason
            try:
                if not tiler:
                    return self.translator(pictures, to=domain), (), None
                results = [tiler(pixels, domain) for pixels in pictures]
            except Exception as error:  # the runtimes' types
                if not memory.is_exhausted(error):
                    raise
                self.ran_out(height, width, tiler)
                continue
            chosen = f"run in tiles, of {tiler.side} px, because the memory is not sufficient"
            return results, () if self.side else (chosen,), None

    def ran_out(self, height: int, width: int, tiler: Tiler | None) -> None:
        """Remember that the memory was not sufficient for a picture of this size, in tiles or
        whole, so that `for_size` chooses smaller tiles from then on, or gives the reason.
        """
        if tiler:
            self._too_wide = min(self._too_wide, tiler.side)
            return
        margin = self.translator.manifest.reach or 0
        self._too_large = min(self._too_large, height * width)
        # Tiles that are as large with their margins would need as much.
        self._too_wide = min(self._too_wide, max(height, width) - 2 * margin)

    def too_large_tiles(self) -> str:
        """What to do where tiles of the chosen side, or of a scene, need more memory."""
        advice = "" if self.translator.provider in ON_CPU else f", or {ELSEWHERE}"
        return f"its tiles need more memory than there is: choose smaller ones (--tile 256){advice}"

    def _smaller(self) -> list[int]:
        """The sides of tiles, px, that were not found to be too large."""
        return [side for side in TILES if side < self._too_wide]

    def _reason(self, height: int, width: int) -> str:
        """Why a picture can't run for which the memory was not sufficient."""
        manifest, advice = self.translator.manifest, []
        tiled = ", in tiles, too" if manifest.reach is not None else ""
        side = int(0.7 * max(height, width)) // 64 * 64
        if side and not manifest.intensity_in:
            advice.append(f"--max-side {side} makes it smaller")
        if self.translator.provider not in ON_CPU:
            advice.append(ELSEWHERE)
        told = f": {', and '.join(advice)}" if advice else ""
        return f"{width}x{height} needs more memory than there is{tiled}{told}"
