"""Settings of the pyramid: which coarser mags are made, and how their voxels are computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wkpipe.geometry import Mag
from wkpipe.plan.config.option import CONVERT, REMOTE_CONVERT, Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import MagText


class DownsampleConfig(ConfigPart):
    """The coarser mags to make, and how to compute them."""

    downsample: bool = Field(True, description="Make coarser mags.")
    coarsest_mag: Annotated[MagText | None, Option(of=(CONVERT, REMOTE_CONVERT), names=("--max-mag",))] = Field(
        None, description="Coarsest mag to make, like 8 or 8-8-4; default: from the layer's size."
    )
    sampling_mode: Literal["anisotropic", "isotropic", "constant_z"] = Field(
        "anisotropic", description="How the axes take part in downsampling."
    )
    interpolation_mode: Literal["default", "median", "mode", "nearest", "bilinear", "bicubic", "max", "min"] = Field(
        "default", description="How a voxel is made from finer ones; default = median for color, mode for segmentation."
    )
    missing_shards: Literal["fill", "error"] = Field("fill", description="How to treat absent shards of a dataset without a ledger.")
    repair: Annotated[bool, Option(text="Make registered mags again that have no data, as a crash leaves them.")] = Field(
        False, description="Downsample: make registered mags again that have no data although a finer one has."
    )
    trust_empty: bool = Field(False, description="Accept a mag without any shard although a finer one has data.")

    @property
    def coarsest(self) -> Mag | None:
        return None if self.coarsest_mag is None else Mag(self.coarsest_mag)
