"""Settings of what a conversion takes from images: series, channels, and what their values become."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wkpipe.images import MAX_LAYERS, ContentOptions
from wkpipe.plan.config.option import Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import Names, Range


class ContentConfig(ConfigPart):
    """What a conversion takes from images: series, channels, and what their values become."""

    series: Annotated[str | None, Option(text="Series of files that have several: its number from 0, its name, or all (a layer each).")] = (
        Field(None, description="Series to convert of files that have several: its number from 0, its name, or all (a layer each).")
    )
    channels: Annotated[Names | None, Option(text="Channels to convert, by number from 0 or by name, like 0,3,DAPI; default: all.")] = (
        Field(None, description="Channels to convert, by number from 0 or by name, like [0, 3, DAPI]; default: all.")
    )
    max_layers: int = Field(MAX_LAYERS, ge=1, description="Refuse a source that makes more layers than this.")
    sparse: Literal["fill", "fail"] = Field("fill", description="Strips and tiles of a TIFF that have no data: read as fill, or refused.")
    rgb_labels: Literal["index", "pack", "map"] | None = Field(
        None,
        description="How ids are made of colours (segmentation): the index in the palette; red·65536 + green·256 + blue; or numbers for"
        " the colours that occur, black 0. Default: index; RGB only if red, green and blue are equal.",
    )
    rgb: Literal["keep", "gray"] = Field(
        "keep", description="RGB images: kept as three channels, or one channel of gray; then red, green and blue must be equal everywhere."
    )
    bilevel: Literal["0/1", "0/255"] | None = Field(
        None, description="What the bits of images with 1 bit become; default: 0/255 for color, 0/1 for segmentation."
    )
    dtype: Literal["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32"] | None = Field(
        None, description="Type of the voxels; default: that of the images."
    )
    rescale_min_max: Annotated[
        Range | None, Option(text="LOW,HIGH: the values that become the smallest and the largest of --dtype; rounded and clipped.")
    ] = Field(None, description="Values that become the smallest and the largest of dtype, like [0, 4095]; rounded and clipped.")

    @property
    def content_options(self) -> ContentOptions:
        """What the user says about series, channels and values."""
        return ContentOptions(
            series=self.series,
            sparse=self.sparse,
            labels=self.rgb_labels,
            is_gray=self.rgb == "gray",
            bits=None if self.bilevel is None else int(self.bilevel.removeprefix("0/")),
            dtype=self.dtype,
            rescale=self.rescale_min_max,
            channels=self.channels or (),
            most_layers=self.max_layers,
        )
