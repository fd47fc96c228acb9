"""Settings of a download: the dataset on a server, and which part of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wkpipe.geometry import BoundingBox
from wkpipe.plan.config.option import Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import BoxText, MagText


class DownloadConfig(ConfigPart):
    """The dataset to download from a server, and which part of it."""

    download_url: str | None = Field(
        None,
        description="Address of a dataset's page on a WEBKNOSSOS server, to download the dataset into the target, with its own mags.",
    )
    download_layers: Annotated[
        list[str], Option(names=("--layer", "--layer-name"), text="Download this layer only; may be given several times.")
    ] = Field([], description="Download: names of the layers to download; default: all.")
    download_mags: Annotated[
        list[MagText], Option(names=("--mag",), text="Download this mag only, like 2 or 2-2-1; may be given several times.")
    ] = Field([], description="Download: mags to download, like [1, 2-2-1]; default: all.")
    download_bbox: Annotated[
        BoxText | None, Option(names=("--bbox",), text="Box to download, in voxels of mag 1: x,y,z,width,height,depth; default: all of it.")
    ] = Field(None, description="Download: box to download, in voxels of mag 1, as x, y, z, width, height, depth; default: all.")

    @property
    def box_to_download(self) -> BoundingBox | None:
        return None if self.download_bbox is None else BoundingBox(self.download_bbox[:3], self.download_bbox[3:])
