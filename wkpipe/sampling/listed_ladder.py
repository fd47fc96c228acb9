"""The ladder whose mags the user lists."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from wkpipe.errors import MagNotFound, WrongGeometry
from wkpipe.geometry import Mag
from wkpipe.sampling.ladder import Ladder, SamplingMode


def listed_ladder(
    existing_mags: Sequence[Mag], from_mag: Mag | None, mags: Sequence[Mag], mode: SamplingMode = SamplingMode.ANISOTROPIC
) -> Ladder:
    """Return the ladder from `from_mag` over these mags, finest first, each of which is made from the one before.

    >>> from wkpipe import Mag
    >>> listed_ladder([Mag(1), Mag(2)], Mag(2), [Mag("8-8-4"), Mag(4)]).mags
    (Mag('4'), Mag('8-8-4'))

    Raises:
        MagNotFound: the layer does not have `from_mag`.
        WrongGeometry: a mag is not coarser than the one before.
    """
    if from_mag is None or from_mag not in existing_mags:
        raise MagNotFound(f"the layer has no mag {from_mag}", fix=f"choose one of {', '.join(map(str, existing_mags))}")
    ordered = sorted(mags, key=Mag.to_tuple)
    for before, mag in itertools.pairwise([from_mag, *ordered]):
        if before == mag or any(a > b for a, b in zip(before, mag, strict=True)):
            raise WrongGeometry(
                f"mag {mag} cannot be made from mag {before}, because it is not coarser", fix="choose mags of which each is coarser"
            )
    return Ladder(from_mag, tuple(ordered), mode, ())
