"""What is wanted of an existing layer: which mags stay, which are replaced, and which coarser ones are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from wkpipe.errors import LadderRefused
from wkpipe.formats.base import Compression
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.request import DownsampleRequest, Overwrite, Storing
from wkpipe.plan.wishes.pyramid import chain, ladder_of, with_compression
from wkpipe.sampling import InterpolationMode, Ladder
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class LayerWish:
    """What is wanted of a layer.

    kept: the mags that stay. replaced: the mags that are made again, beside the old ones. ladder: the mag to start from, and the
    wanted mags, of which some may be kept.
    """

    request: DownsampleRequest
    layer: LayerProperties
    kept: tuple[Mag, ...]
    replaced: tuple[Mag, ...]
    ladder: Ladder

    @classmethod
    def of(
        cls,
        request: DownsampleRequest,
        layer: LayerProperties,
        voxel_size_nm: Sequence[float],
        existing: Sequence[Mag],
        others: Sequence[Mag],
    ) -> Self:
        """Return what is wanted of a layer that has the `existing` mags; `others` are the mags of other layers.

        Raises:
            InputRefused: the wanted mag cannot be reached, or the layer is empty or has no mag.
            LadderRefused: a mag that stays is as coarse as a wanted one, but another.
        """
        is_all = request.overwrite is Overwrite.ALL and bool(existing)
        ladder = ladder_of(request, layer, voxel_size_nm, [min(existing)] if is_all else existing, others)
        match request.overwrite:
            case Overwrite.NOTHING:
                replaced: list[Mag] = []
            case Overwrite.WANTED:
                replaced = [mag for mag in existing if mag in ladder.mags]
            case Overwrite.ALL:
                replaced = [mag for mag in existing if mag != ladder.from_mag]
        kept = [mag for mag in existing if mag not in replaced]
        wish = cls(request, layer, tuple(kept), tuple(replaced), ladder)
        wish._check_distinct()
        return wish

    def _check_distinct(self) -> None:
        """Refuse what a request that names its mags would put beside others. A layer may begin with a mag like 1-1-2, which 2 follows."""
        if self.request.from_mag is None or self.request.is_forced:
            return
        for mag in self.ladder.mags:
            for other in self.kept:
                if other not in (mag, self.ladder.from_mag) and other.max_dim == mag.max_dim:
                    raise LadderRefused(
                        f"mag {mag} cannot be made beside mag {other}, because WEBKNOSSOS cannot distinguish them",
                        where=f"layer {self.layer.name}",
                        fix=f"delete mag {other}, or choose other mags",
                    )

    @property
    def mags(self) -> list[Mag]:
        """The mags that the layer has after the run."""
        return [*self.kept, *self.new]

    @property
    def new(self) -> list[Mag]:
        """The mags that are made."""
        return [mag for mag in self.ladder.mags if mag not in self.kept]

    @property
    def concerned(self) -> tuple[Mag, ...]:
        """The mags that stay and that are brought up to date; if mags are listed or replaced, others are left alone."""
        request, start = self.request, self.ladder.from_mag
        if request.from_mag is None or (request.overwrite is Overwrite.NOTHING and not request.targets):
            return self.kept
        return tuple(mag for mag in self.kept if mag in self.ladder.mags or all(a <= b for a, b in zip(mag, start, strict=True)))

    def is_wanted(self, mag: Mag) -> bool:
        """True if a mag that stays must be as the request wants it."""
        return mag in self.ladder.mags or (self.request.from_mag is None and self.request.overwrite is not Overwrite.WANTED)

    @property
    def warnings(self) -> list[str]:
        """The notes on the ladder for the user."""
        return [f"layer {self.layer.name}: {warning}" for warning in self.ladder.warnings]

    def new_mags(self, inherited: Storing, source: Compression | None) -> list[MagPlan]:
        """Plan the mags that are made; `source` is how the mag to start from is compressed."""
        storing = with_compression(self.request.storing, inherited, source)
        return [plan for before, mags in self._gaps() for plan in chain(self.request, self.layer, before, mags, storing)]

    def _gaps(self) -> Iterator[tuple[Mag, list[Mag]]]:
        """Yield the mags of the ladder that are made, in runs that follow a mag that is kept, with that mag."""
        before, run = self.ladder.from_mag, list[Mag]()
        for mag in self.ladder.mags:
            if mag in self.kept:
                yield before, run
                before, run = mag, []
            else:
                run.append(mag)
        yield before, run

    def made_again(self, inherited: Storing, source: Compression | None, lost: Sequence[Mag]) -> list[MagPlan]:
        """Plan mags that have lost their data, each from the coarsest finer mag that is local."""
        storing = with_compression(self.request.storing, inherited, source)
        local = [mag for mag in self.kept if not self.layer.mag(mag).is_remote]
        return [plan for mag in lost for plan in chain(self.request, self.layer, _source_of(mag, local), [mag], storing)]


def contradiction(request: DownsampleRequest, recipe: MagPlan, mode: InterpolationMode) -> str | None:
    """Return how an existing mag differs from what is wanted; None if it does not. Defaults are not wishes."""
    wanted, storing = request.interpolation, request.storing
    if wanted not in (None, mode):
        return f"interpolation mode {mode.value}, not {wanted}"
    chunk, shard = spatial(recipe.spec, recipe.spec.chunk_shape), spatial(recipe.spec, recipe.spec.shard_shape)
    if storing.chunk not in (None, chunk):
        return f"chunks of {chunk}, not {storing.chunk}"
    if storing.shard not in (None, shard):
        return f"storage shards of {shard}, not {storing.shard}"
    return None if storing.compress or not recipe.spec.compression.is_on else "compression, not without"


def _source_of(mag: Mag, existing: Sequence[Mag]) -> Mag:
    """Return the coarsest of the existing mags that a mag can be made from."""
    finer = [other for other in existing if other != mag and all(a <= b for a, b in zip(other, mag, strict=True))]
    return max(finer, key=lambda m: m.to_tuple())
