"""Plan the finer mags that a layer gets by upsampling: which are made, from which coarser mag, and how they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.layout import Layout
from wkpipe.plan.wishes.pyramid import channel_index
from wkpipe.sampling import Ladder, SamplingMode, upsample_ladder


@dataclass(frozen=True)
class UpsamplingRequest:
    """What is wanted of a layer: finer mags down to `finest_mag`, made from `from_mag`.

    `align_with` are the mags of other layers that the new mags are aligned with; None does not align.
    """

    dataset: Path
    layer: str
    from_mag: Mag
    finest_mag: Mag
    mode: SamplingMode = SamplingMode.ANISOTROPIC
    align_with: tuple[Mag, ...] | None = ()
    storing: Storing = field(default_factory=Storing)


def upsampling_ladder(request: UpsamplingRequest, layer: LayerProperties, voxel_size_nm: Sequence[float]) -> Ladder:
    """Return the mags to make, coarsest first.

    Raises:
        MagNotFound: the layer does not have the mag to start from.
        AlreadyExists: it has one of the mags to make.
        InputRefused: the ladder cannot be made, or the layer's format is only read.
    """
    where = f"layer {layer.name}"
    if not layer.data_format.is_writable:
        fix = "convert it to zarr3, zarr or wkw with another tool first"
        raise InputRefused(f"the layer is stored as {layer.data_format}, which wkpipe only reads", where=where, fix=fix)
    try:
        return upsample_ladder(
            voxel_size_nm,
            layer.box,
            [entry.mag for entry in layer.mags],
            from_mag=request.from_mag,
            finest_mag=request.finest_mag,
            mode=request.mode,
            align_with=request.align_with,
        )
    except InputRefused as error:
        raise error.within(where) from None


def finer_mags(layer: LayerProperties, ladder: Ladder, storing: Storing) -> list[MagPlan]:
    """Plan the mags of a ladder, each from the one before, which are stored like this.

    Raises:
        InputRefused: the layer's format cannot hold arrays of the wanted shapes.
    """
    layout = Layout.of(storing, layer)
    plans, from_mag, from_channel = [], ladder.from_mag, channel_index(layer, ladder.from_mag)
    for mag in ladder.mags:
        plans.append(layout.mag_plan(layer, mag, FromCoarser(from_mag, channel=from_channel)))
        from_mag, from_channel = mag, 0
    return plans
