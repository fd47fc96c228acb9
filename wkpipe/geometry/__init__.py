"""Pure integer geometry: vectors, mags, boxes and grids of chunks."""

from wkpipe.geometry.bounding_box import BoundingBox
from wkpipe.geometry.mag import Mag, MagLike
from wkpipe.geometry.nd_bounding_box import SPATIAL_AXES, NDBoundingBox
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike

__all__ = ["SPATIAL_AXES", "BoundingBox", "Mag", "MagLike", "NDBoundingBox", "Vec3Int", "Vec3IntLike"]
