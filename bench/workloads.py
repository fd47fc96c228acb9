"""The workloads of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BOTH: Final = ("color", "seg")


@dataclass(frozen=True)
class Workload:
    """A workload.

    `command` is downsample or convert (the whole command), or alone (downsampling without start-up). `layers` are those of
    `bench.volumes`; `group` is a value of --group. `ours_s` and `reference_s` are roughly the seconds of one run at the
    default size on two cores: for the estimate, and to choose the number of runs.
    """

    name: str
    group: str
    command: str
    layers: tuple[str, ...]
    ours_s: float
    reference_s: float
    data_format: str = "zarr3"
    sampling_mode: str = "anisotropic"
    has_level_3: bool = False
    is_quick: bool = False

    @property
    def is_alone(self) -> bool:
        return self.command == "alone"

    @property
    def is_big(self) -> bool:
        return any(layer.startswith("big-") for layer in self.layers)

    @property
    def is_long(self) -> bool:
        """True if the reference takes so long that it gets one timed run only."""
        return self.reference_s >= 15 and not self.is_quick


WORKLOADS: Final = (
    Workload("downsample-zarr3", "whole", "downsample", BOTH, 5, 35, has_level_3=True, is_quick=True),
    Workload("downsample-wkw", "whole", "downsample", BOTH, 5, 12, "wkw"),
    Workload("downsample-zarr2", "whole", "downsample", BOTH, 6, 15, "zarr"),
    Workload("downsample-isotropic", "whole", "downsample", BOTH, 5, 33, sampling_mode="isotropic"),
    Workload("downsample-u16", "whole", "downsample", ("u16",), 5, 20),
    # In WKW, because the reference would need some 28 GB of memory for a Zarr 3 shard of 1024³ such voxels.
    Workload("downsample-u64", "whole", "downsample", ("u64",), 5, 10, "wkw"),
    Workload("downsample-labels", "whole", "downsample", ("labels",), 6, 35),
    Workload("downsample-big-color", "big", "downsample", ("big-color",), 8, 50, has_level_3=True),
    Workload("downsample-big-seg", "big", "downsample", ("big-seg",), 9, 55, has_level_3=True),
    Workload("convert", "whole", "convert", ("wide",), 12, 55, has_level_3=True),
    Workload("alone-color-zarr3", "alone", "alone", ("color",), 3, 20, has_level_3=True, is_quick=True),
    Workload("alone-seg-zarr3", "alone", "alone", ("seg",), 3, 25, has_level_3=True, is_quick=True),
    Workload("alone-color-wkw", "alone", "alone", ("color",), 3, 10, "wkw"),
    Workload("alone-seg-wkw", "alone", "alone", ("seg",), 3, 10, "wkw"),
    Workload("alone-big-color", "alone", "alone", ("big-color",), 7, 50, has_level_3=True),
    Workload("alone-big-seg", "alone", "alone", ("big-seg",), 8, 55, has_level_3=True),
)
GROUPS: Final = ("quick", "whole", "big", "alone", "default")
VOLUMES_S: Final = 25
"""Rough seconds to make one volume at the default size; those of `alone` exist already."""


def choose(names: list[str] | None, groups: list[str] | None) -> list[Workload]:
    """Return the named workloads and those of the named groups, in their order; all if nothing is named."""
    if not names and not groups:
        return list(WORKLOADS)
    wanted = set(groups or ())
    return [
        workload
        for workload in WORKLOADS
        if workload.name in (names or ()) or "default" in wanted or workload.group in wanted or ("quick" in wanted and workload.is_quick)
    ]
