"""The configuration of a run: one typed value behind the config file, the command line and the library alike."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from wkpipe.errors import UsageError, one_line
from wkpipe.geometry import BoundingBox, Mag, Vec3Int
from wkpipe.server.request import DEFAULT_CHUNK_BYTES, DEFAULT_JOBS


def _shape(value: Any) -> tuple[int, int, int] | None:
    """Accept ``32``, ``"32"``, ``"32,32,32"`` and ``[32, 32, 32]``."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            shape = Vec3Int.from_str(value) if "," in value else Vec3Int.full(int(value))
        else:
            shape = Vec3Int.from_vec_or_int(value)
    except (ValueError, TypeError):
        shape = Vec3Int.zeros()
    if not shape.is_positive():
        raise ValueError("expected a positive number like 32, or three like 32,32,32")
    if any(edge & (edge - 1) for edge in shape):
        raise ValueError("every number must be a power of two, like 32 or 32,32,1")
    return shape.to_tuple()


def _voxel_size(value: Any) -> tuple[float, ...] | None:
    """Accept ``"11,11,25"`` and ``[11, 11, 25]``."""
    if value is None:
        return None
    try:
        parts = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (ValueError, TypeError, OverflowError):
        parts = ()
    if len(parts) != 3 or not all(0 < part < math.inf for part in parts):
        raise ValueError("expected three positive numbers like 11,11,25")
    return parts


def _path(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value) or not _is_possible_path(str(value)):
        raise ValueError("expected the path of a file or directory")
    return Path(value)


def _is_possible_path(text: str) -> bool:
    """Tell whether Linux can have a file of that path."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return len(encoded) < 4096 and max(map(len, encoded.split(b"/"))) < 256


def _mag_text(value: Any) -> Any:
    return None if value is None else str(Mag(value))


def _box(value: Any) -> tuple[int, ...] | None:
    """Accept ``"0,0,0,512,512,128"`` and ``[0, 0, 0, 512, 512, 128]``."""
    if value is None:
        return None
    box = BoundingBox.from_str(value if isinstance(value, str) else ",".join(map(str, value)) if isinstance(value, list | tuple) else "")
    if box.is_empty():
        raise ValueError("expected a box that is not empty, like 0,0,0,512,512,128 (x,y,z,width,height,depth)")
    return (*box.topleft, *box.size)


Shape = Annotated[tuple[int, int, int], BeforeValidator(_shape)]
VoxelSizeFactor = Annotated[tuple[float, float, float], BeforeValidator(_voxel_size)]
PathText = Annotated[Path, BeforeValidator(_path)]
MagText = Annotated[str, BeforeValidator(_mag_text)]
Box = Annotated[tuple[int, int, int, int, int, int], BeforeValidator(_box)]


class Config(BaseModel):
    """What to do with which data.

    With `source`, images are converted into the dataset `target`; without, the layers of an existing dataset are
    downsampled, unless `downsample` is off. With `webknossos_url`, the dataset is then uploaded. With `download_url`, the
    dataset comes from a server as it is there. Shapes and sizes are in the order x, y, z.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: PathText = Field(description="Directory of the dataset.")
    source: PathText | None = Field(None, description="Image file or directory to convert; leave out to work on an existing dataset.")

    voxel_size: VoxelSizeFactor | None = Field(None, description="Size of a voxel along x, y, z; needed with a source.")
    unit: str = Field("nanometer", description="Length unit of voxel_size.")
    name: str | None = Field(None, description="Name of the dataset; default: last part of the target's path.")
    layer_name: str | None = Field(
        None, description="Convert: name of the layer to make. Downsample: the only layer to work on; default: all."
    )
    category: Literal["color", "segmentation"] | None = Field(
        None, description="Category of converted layers; default: recognised from the data."
    )
    data_format: Literal["wkw", "zarr", "zarr3"] = Field("zarr3", description="Storage format of converted layers.")
    chunk_shape: Shape | None = Field(None, description="Voxels per chunk; default 32,32,32.")
    shard_shape: Shape | None = Field(None, description="Voxels per storage shard (one file).")
    compress: bool = Field(True, description="Compress chunks (zstd, WKW: LZ4-HC).")
    compression_level: int | None = Field(
        None, ge=1, le=22, description="zstd level, higher is smaller and slower (WKW has none); default 5, then that of the finer mag."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Images per job at least; a multiple of the shard's depth (WKW: of the chunk's)."
    )
    overwrite_existing: bool = Field(
        False, description="Delete an existing target first (convert); make coarser mags anew and replace the old (downsample)."
    )

    downsample: bool = Field(True, description="Make coarser mags.")
    coarsest_mag: MagText | None = Field(None, description="Coarsest mag to make, like 8 or 8-8-4; default: from the layer's size.")
    sampling_mode: Literal["anisotropic", "isotropic", "constant_z"] = Field(
        "anisotropic", description="How the axes take part in downsampling."
    )
    interpolation_mode: Literal["default", "median", "mode", "nearest", "bilinear", "bicubic", "max", "min"] = Field(
        "default", description="How a voxel is made from finer ones; default: median for color, mode for segmentation."
    )

    missing_shards: Literal["fill", "error"] = Field("fill", description="What absent shards of a dataset without a ledger mean.")
    repair: bool = Field(False, description="Downsample: make registered mags anew that have no data although a finer one has.")
    trust_empty: bool = Field(False, description="Accept a mag without any shard although a finer one has data.")
    ignore_disk_space: bool = Field(False, description="Begin even where the disk looks too small for what will be written.")
    state_dir: PathText | None = Field(None, description="Where wkpipe keeps its state; default: .wkpipe in the dataset.")

    webknossos_url: str | None = Field(
        None, description="WEBKNOSSOS server to upload the finished dataset to, like https://webknossos.org; leave out to upload nothing."
    )
    download_url: str | None = Field(
        None, description="Address of the page of a dataset on a WEBKNOSSOS server, to download it into the target, with its own mags."
    )
    download_layers: list[str] = Field([], description="Download: names of the layers to download; default: all.")
    download_mags: list[MagText] = Field([], description="Download: mags to download, like [1, 2-2-1]; default: all.")
    download_bbox: Box | None = Field(
        None, description="Download: box to download, in voxels of mag 1, as x, y, z, width, height, depth; default: all."
    )
    dataset_name: str | None = Field(None, description="Name of the dataset on the server; default: its name here.")
    folder: str | None = Field(
        None, description="Folder of the server's dashboard to put the dataset in, like Datasets/mine; default: the root folder."
    )
    datastore: str | None = Field(
        None, description="Name or URL of the server's datastore to upload to; default: the first that accepts uploads."
    )
    token_file: PathText | None = Field(
        None, description="File with the token of the server, readable by its owner only; default: the token in the variable WK_TOKEN."
    )
    upload_layers: list[str] = Field([], description="Upload: names of the layers to upload; default: all.")
    upload_finest_mag: MagText | None = Field(None, description="Upload: finest mag to upload; default: the finest there is.")
    upload_coarsest_mag: MagText | None = Field(None, description="Upload: coarsest mag to upload; default: the coarsest there is.")
    upload_jobs: int = Field(DEFAULT_JOBS, ge=1, le=64, description="Upload: requests at the same time.")
    upload_chunk_mib: int = Field(DEFAULT_CHUNK_BYTES >> 20, ge=1, le=100, description="Upload: MiB of a file in one request.")
    upload_again: bool = Field(False, description="Upload: forget an earlier one, finished or not, and begin anew.")
    allow_http: bool = Field(False, description="Send the token unencrypted to a server that is not this machine.")
    ca_file: PathText | None = Field(None, description="Servers: file with certificates to trust besides the usual ones.")
    proxy: str | None = Field(None, description="Servers: proxy to go through; default: none, whatever the environment says.")

    @property
    def chunk(self) -> Vec3Int | None:
        return None if self.chunk_shape is None else Vec3Int(self.chunk_shape)

    @property
    def shard(self) -> Vec3Int | None:
        return None if self.shard_shape is None else Vec3Int(self.shard_shape)

    @property
    def box_to_download(self) -> BoundingBox | None:
        return None if self.download_bbox is None else BoundingBox(self.download_bbox[:3], self.download_bbox[3:])

    @property
    def coarsest(self) -> Mag | None:
        return None if self.coarsest_mag is None else Mag(self.coarsest_mag)

    def to_json(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


def load_config(values: Any, where: str, spell: Callable[[str], str] = str) -> Config:
    """Check a config file's or command line's values; `spell` gives the name under which the user knows a key.

    Raises:
        UsageError: something is missing, unknown or wrong; one line names `where`, the key, found and expected.
    """
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected keys and values, found {type(values).__name__}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UsageError("; ".join(_explain(problem, where, spell) for problem in error.errors()[:3])) from None


def _explain(problem: Any, where: str, spell: Callable[[str], str]) -> str:
    key = one_line(problem["loc"][0], 60) if problem["loc"] else "config"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; known are {', '.join(Config.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: {spell(key)} is missing ({Config.model_fields[key].description})"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {spell(key)} {one_line(repr(problem['input']), 120)} is not valid: {message[0].lower()}{one_line(message[1:], 300)}"
