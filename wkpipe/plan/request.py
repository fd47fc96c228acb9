"""DownsampleRequest: which coarser mags are wanted of a dataset, and how; the config and the library both make one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wkpipe.geometry import Mag, Vec3Int
from wkpipe.sampling import InterpolationMode, SamplingMode

if TYPE_CHECKING:  # the library makes requests without a config
    from wkpipe.plan.config import Config


class Overwrite(enum.Enum):
    """Which existing mags are made again, beside the old ones, which they then replace."""

    NOTHING = "nothing"
    """None: mags that wkpipe made as they are wanted are brought up to date, others are refused."""

    WANTED = "wanted"
    """Those of the wanted mags that exist. Others stay as they are."""

    ALL = "all"
    """All but the finest, from which the ladder then starts."""


@dataclass(frozen=True)
class Storing:
    """How the arrays of new mags are stored; None means the default.

    chunk, shard: shapes in voxels. level: of zstd. Without `compress`, chunks are not compressed.
    """

    chunk: Vec3Int | None = None
    shard: Vec3Int | None = None
    compress: bool = True
    level: int | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return how a config wants arrays to be stored."""
        return cls(config.chunk, config.shard, config.compress, config.compression_level)


@dataclass(frozen=True)
class DownsampleRequest:
    """The coarser mags to make of the layers of a dataset.

    layer: the only layer to work on; None means all. from_mag: where the ladder starts; None means the coarsest mag, or the finest
    with `Overwrite.ALL`. It ends at `coarsest`, by default by the size of the layer; or it consists of the `targets`, in their order,
    which needs `from_mag`. alignment: True aligns it with the mags of the dataset's other layers, False with none, a tuple with these
    mags. With `is_forced`, several mags with the same largest component only cause a warning. interpolation: None means the default
    of the layer's category.

    missing_is_error: shards of other tools that have no file are refused. repair: mags that have lost all data are made again;
    trust_empty: they are taken as they are.
    """

    dataset: Path
    state_dir: Path | None = None
    layer: str | None = None
    from_mag: Mag | None = None
    coarsest: Mag | None = None
    targets: tuple[Mag, ...] = ()
    sampling: SamplingMode = SamplingMode.ANISOTROPIC
    is_forced: bool = False
    alignment: bool | tuple[Mag, ...] = True
    interpolation: InterpolationMode | None = None
    storing: Storing = Storing()
    overwrite: Overwrite = Overwrite.NOTHING
    missing_is_error: bool = False
    repair: bool = False
    trust_empty: bool = False

    def __post_init__(self) -> None:
        assert self.from_mag is not None or not self.targets, "targets need a mag to start from"
        assert self.from_mag is None or self.overwrite is not Overwrite.ALL, "all mags are made again from the finest"

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return what a config wants."""
        mode = config.interpolation_mode
        return cls(
            dataset=config.target,
            state_dir=config.state_dir,
            layer=config.layer_name,
            coarsest=config.coarsest,
            sampling=SamplingMode(config.sampling_mode),
            interpolation=None if mode == "default" else InterpolationMode(mode),
            storing=Storing.of(config),
            overwrite=Overwrite.ALL if config.overwrite_existing else Overwrite.NOTHING,
            missing_is_error=config.missing_shards == "error",
            repair=config.repair,
            trust_empty=config.trust_empty,
        )

    def aligned(self, others: tuple[Mag, ...]) -> tuple[Mag, ...] | None:
        """Return the mags to align with, if the dataset's other layers have the mags `others`; None if with none."""
        if isinstance(self.alignment, bool):
            return others if self.alignment else None
        return self.alignment
