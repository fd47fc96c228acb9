"""FromImages: the origin of a mag that is converted from a stack of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wkpipe.engine.blocks import BlockCut
from wkpipe.formats.base import Position
from wkpipe.images.frame import Frame
from wkpipe.images.source import SourceBox
from wkpipe.images.values import Values
from wkpipe.plan.mag_plan import MagPlan, Origin, identity_of
from wkpipe.plan.origins.from_images_memory import IMAGES_BYTES, convert_bytes

if TYPE_CHECKING:  # slow to import, and needed by conversions only
    from wkpipe.images import ImageStack


@dataclass(frozen=True)
class FromImages(Origin["ImageStack"]):
    """The origin of a mag that is converted from images: `sizes` (t, c, z, y, x) of the layer, and the `image_channels` it is made from.

    `values` is the function that makes voxels of the stored values; None if they are the same. `frame` is the part of the images
    that the layer shows, and how it is turned; None if it shows all of them as they are.
    """

    sizes: tuple[int, ...]
    image_channels: tuple[int, ...]
    values: Values | None = None
    frame: Frame | None = None

    kind = "convert"
    by_slice = True

    @classmethod
    def of(cls, stack: ImageStack) -> Self:
        """Return the origin of a mag that is converted from a stack."""
        return cls(tuple(stack.sizes), tuple(stack.channels), stack.values, stack.frame)

    def inputs(self, plan: MagPlan, unit: Position, source: ImageStack, tokens: Mapping[Position, str]) -> str:  # noqa: ARG002
        first, end = (corner - plan.box.first for corner in plan.unit_box(unit))
        t, c, *_ = source.sizes
        return identity_of([source.identity(SourceBox.of((0, 0, *reversed(first)), (t, c, *reversed(end))))])

    def parting(self, plan: MagPlan, source: ImageStack) -> Callable[[Position, Position], bool]:
        return BlockCut(plan.spec, plan.box, source).may_part  # no image is decoded by two tasks

    def peak_bytes(self, plan: MagPlan, source: ImageStack, threads: int) -> int:
        return IMAGES_BYTES + convert_bytes(plan, source, threads)

    @property
    def text(self) -> str:
        return "images"

    @property
    def how(self) -> str:
        return "converted"

    def to_json(self) -> dict[str, Any]:
        values = {} if self.values is None else {"values": self.values.to_json()}
        frame = {} if self.frame is None else {"frame": self.frame.to_json()}
        return {"source": {"sizes": list(self.sizes), "channels": list(self.image_channels), **values, **frame}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        source = values["source"]
        values_, frame = Values.from_json(source.get("values")), Frame.from_json(source.get("frame"))
        return cls(tuple(source["sizes"]), tuple(source["channels"]), values_, frame)
