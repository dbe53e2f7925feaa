"""Which pictures run in tiles, and of which size."""

from img2img.errors import UsageError
from img2img.infer.room import Room
from img2img.infer.tile import Tiler
from img2img.infer.translator import Translator


class Tilers:
    """The tilers of a translator, which are made when they are needed."""

    def __init__(self, translator: Translator, side: int | None, norm_tiles: int | None):
        """side: of tiles, px, for pictures that are larger; None: tiles only for pictures that
        don't fit into memory. norm_tiles: as in `Tiler`.
        """
        self.translator, self.side, self.norm_tiles = translator, side, norm_tiles
        self.room = Room(translator)
        self._tilers: dict[int, Tiler] = {}

    def of(self, side: int | None) -> Tiler:
        """With tiles of this side, px, or else of that which was chosen, or of one that fits into
        memory. Raises UsageError for a model that can't run in tiles.
        """
        side = side or self.side
        if side is None:
            side = self.room.tile_side(self.translator.manifest.reach or 0)
        if side not in self._tilers:
            self._tilers[side] = Tiler(self.translator, side, self.norm_tiles)
        return self._tilers[side]

    def for_size(self, height: int, width: int) -> tuple[Tiler | None, str | None]:
        """The tiler for a picture of this size; None where it runs whole, or, with a reason, where
        it can't run.
        """
        if self.side:
            tiler = self.of(self.side)
            if max(height, width) > tiler.whole_side:
                return tiler, None
        reason = self.room.refusal(height, width)
        if reason and self.translator.manifest.reach is not None:
            try:
                return self.of(None), None
            except UsageError as error:  # a package is missing
                return None, f"{reason}. {error}"
        return None, reason
