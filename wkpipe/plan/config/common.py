"""Settings that several commands share: the dataset, how its layers are stored, and how servers are reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wkpipe.geometry import Vec3Int
from wkpipe.plan.config.option import CONVERT, DOWNLOAD, DOWNSAMPLE, REMOTE_CONVERT, Option
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import PathText, Shape


class CommonConfig(ConfigPart):
    """The dataset, how its layers are stored, and how servers are reached."""

    target: Annotated[
        PathText,
        Option(argument="TARGET", text="Path to the dataset."),
        Option(of=(CONVERT, DOWNLOAD), argument="TARGET", text="Path of the dataset to make."),
    ] = Field(description="Directory of the dataset.")
    name: Annotated[
        str | None,
        Option(of=(DOWNLOAD,), text="Name of the dataset here; default: its name on the server."),
        Option(of=(REMOTE_CONVERT,), names=("--dataset-name",), text="Name of the dataset on the server; default: that of SOURCE."),
    ] = Field(None, description="Name of the dataset; default: last part of the target's path.")
    layer_name: Annotated[
        str | None,
        Option(of=(CONVERT, REMOTE_CONVERT), text="Name of the layer; with several layers, a prefix."),
        Option(of=(DOWNSAMPLE,), text="Layer to downsample; default: all."),
    ] = Field(None, description="Convert: name of the layer to make. Downsample: the only layer to work on; default: all.")
    overwrite_existing: Annotated[
        bool,
        Option(text="Delete an existing target first, if it was made from another source or with other parameters."),
        Option(
            of=(DOWNSAMPLE,),
            text="Make all mags but the finest again, beside the old ones, which are replaced and deleted once the new ones are proven.",
        ),
    ] = Field(False, description="Delete an existing target first (convert); make coarser mags again and replace the old (downsample).")

    data_format: Literal["wkw", "zarr", "zarr3"] = Field("zarr3", description="Storage format of new layers.")
    chunk_shape: Shape | None = Field(None, description="Voxels per chunk, like 32 or 32,32,32; default: 32,32,32.")
    shard_shape: Shape | None = Field(None, description="Voxels per storage shard (one file), like 1024,1024,1024.")
    compress: bool = Field(True, description="Compress chunks (zstd, WKW: LZ4-HC).")
    compression_level: int | None = Field(
        None,
        ge=1,
        le=22,
        description="zstd level, higher is smaller and slower (WKW has none); default: that of the finer mag, else 5 tuned for its voxels.",
    )

    ignore_disk_space: bool = Field(False, description="Start even if the disk looks too small for what will be written.")
    state_dir: PathText | None = Field(None, description="Where wkpipe keeps its state; default: .wkpipe in the dataset.")

    token_file: Annotated[PathText | None, Option(text="File with the token, readable by you only. [env var: WK_TOKEN_FILE]")] = Field(
        None, description="File with the token of the server, readable by its owner only; default: the token in the variable WK_TOKEN."
    )
    allow_http: bool = Field(False, description="Send the token unencrypted to a server that is not this machine.")
    ca_file: PathText | None = Field(None, description="File with certificates (PEM) to trust besides the usual ones, for servers.")
    proxy: Annotated[str | None, Option(text="Proxy to use; proxies that the environment names are ignored.", variable="WK_PROXY")] = Field(
        None, description="Servers: proxy to use; default: none, whatever the environment says."
    )

    @property
    def chunk(self) -> Vec3Int | None:
        return None if self.chunk_shape is None else Vec3Int(self.chunk_shape)

    @property
    def shard(self) -> Vec3Int | None:
        return None if self.shard_shape is None else Vec3Int(self.shard_shape)
