"""ContentOptions: what the user says about series, channels and values of images."""

from __future__ import annotations

from dataclasses import dataclass

from wkpipe.images.reader import ReadOptions

INDEX, PACK, MAP = "index", "pack", "map"
MAX_LAYERS = 20


@dataclass(frozen=True)
class ContentOptions:
    """What the user says about the pages, channels and values of images.

    series, sparse: see `ReadOptions`. labels: how images in colours become ids: ``index``, ``pack`` or ``map``. bits: the value of a set
    bit of images with 1 bit, 1 or 255; None = 255 for color, 1 for segmentation. dtype: the type of the voxels that are made; None =
    the stored one. is_gray: True if RGB images are gray: red, green and blue are equal and become one channel. rescale: the stored
    values that become the smallest and the largest of `dtype`. channels: numbers or names of the channels to convert; () = all.
    most_layers: the limit of layers.
    """

    series: str | None = None
    sparse: str = "fill"
    labels: str | None = None
    bits: int | None = None
    dtype: str | None = None
    rescale: tuple[float, float] | None = None
    is_gray: bool = False
    channels: tuple[str, ...] = ()
    most_layers: int = MAX_LAYERS

    def reading(self, is_segmentation: bool) -> ReadOptions:
        """Return what readers need to know of this."""
        return ReadOptions(self.series, self.sparse, is_segmentation and self.labels in (None, INDEX))


CONTENT = ContentOptions()
