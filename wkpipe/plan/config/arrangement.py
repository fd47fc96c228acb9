"""Settings of where images are put in the dataset: their mag and position, the part of them, and how they are turned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.images import Arrangement
from wkpipe.plan.config.option import Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import BoxText, MagText, PositionText


class ArrangementConfig(ConfigPart):
    """Where the images are put, which part of them, and how they are turned."""

    mag: MagText = Field("1", description="Mag of the images, the finest that is made, like 2 or 2-2-1; the voxel size is that of mag 1.")
    topleft: Annotated[PositionText, Option(text="Position of the images in the dataset, in voxels of mag 1: x,y,z; default: 0,0,0.")] = (
        Field(None, description="Position of the images in the dataset, in voxels of mag 1, as x, y, z; default: 0, 0, 0.")
    )
    bbox: Annotated[
        BoxText | None,
        Option(text="Convert this box only, in voxels of the images as they are stored: x,y,z,width,height,depth; default: all of them."),
    ] = Field(
        None, description="Box to convert, in voxels of the images as they are stored, as x, y, z, width, height, depth; default: all."
    )
    swap_xy: bool = Field(False, description="Exchange x and y of the images.")
    flip_x: bool = Field(False, description="Mirror the layers along x, after swap_xy.")
    flip_y: bool = Field(False, description="Mirror the layers along y, after swap_xy.")
    flip_z: bool = Field(False, description="Reverse the order of the slices.")
    padding: Literal["fail", "fill"] = Field(
        "fail",
        description="Slices of different widths or heights: refused, or the smaller ones are filled with 0 at their right and bottom.",
    )

    @property
    def finest(self) -> Mag:
        return Mag(self.mag)

    @property
    def position(self) -> Vec3Int:
        return Vec3Int.zeros() if self.topleft is None else Vec3Int(self.topleft)

    @property
    def arrangement(self) -> Arrangement:
        """What the user says about the part of the images, and how it is turned."""
        region = None if self.bbox is None else Box(Vec3Int(self.bbox[:3]), Vec3Int(self.bbox[:3]) + Vec3Int(self.bbox[3:]))
        mirrored = "".join(axis for axis, is_flipped in zip("xyz", (self.flip_x, self.flip_y, self.flip_z), strict=True) if is_flipped)
        return Arrangement(region, self.swap_xy, mirrored)
