"""Settings of a conversion: the images, their voxel size and their category."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wkpipe.images.options import FAIL, SourceOptions
from wkpipe.plan.config.option import Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import Family, MissingSlices, PathText, VoxelSizeFactor

_MISSING = "fail, fill (with 0), repeat (the slice before), close (the gap), or from:FILE with a list of lost sections, which are filled"


class ConvertConfig(ConfigPart):
    """The images to convert, their voxel size and their category."""

    source: Annotated[
        PathText | None,
        Option(
            argument="SOURCE",
            text="Image file, directory of images, zip or tar of images, or a quoted glob like 'scans/*_C1.tif'.",
            is_required=True,
        ),
    ] = Field(None, description="Image file, directory, zip, tar or glob to convert; leave it out to work on an existing dataset.")
    voxel_size: Annotated[
        VoxelSizeFactor | None, Option(text="Size of a voxel, like 11.0,11.0,20.0 (x,y,z); default: as the images say.")
    ] = Field(None, description="Size of a voxel along x, y, z; default: as the images say.")
    unit: str = Field("nanometer", description="Length unit of the voxel size.")
    category: Literal["color", "segmentation"] | None = Field(
        None, description="Category of converted layers; default: recognised from the data."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Least number of images per job; a multiple of the shard's depth (WKW: of the chunk's)."
    )
    family: Annotated[
        Family | None, Option(text="Endings of the images to use, like .tif or .tif,.tiff, if a folder has several kinds.")
    ] = Field(None, description="Endings of the images to use, like .tif or .tif,.tiff; default: the largest family of files in a folder.")
    pattern: Annotated[
        str | None,
        Option(text="Form of the files' names, with {z}, {c}, {t}, {y}, {x}, {name}: 'img_{z}_Ch{c}.tif', or '{z}/{y}/{x}.jpg' for tiles."),
    ] = Field(None, description="Form of the files' paths below the source, with {z}, {c}, {t}, {y}, {x}, {name}, like img_{z}_Ch{c}.tif.")
    missing_slices: Annotated[MissingSlices, Option(text=f"What to do about numbers that no slice has: {_MISSING}.")] = Field(
        FAIL, description=f"What to do about numbers that no slice has: {_MISSING}."
    )
    concat: Annotated[Literal["z"] | None, Option(text="Join all files and folders, which follow each other along z.")] = Field(
        None, description="Join all files and folders of the source, which follow each other along z, to one layer."
    )
    spool_dir: PathText | None = Field(
        None, description="Where a source that is a compressed tar is decompressed, once; default: wkpipe/spool in the user's cache."
    )

    @property
    def source_options(self) -> SourceOptions:
        """What the user says about the files, pages and names of the source."""
        return SourceOptions(self.family or (), self.pattern, self.missing_slices, self.concat, self.spool_dir)
