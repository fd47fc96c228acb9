"""Pure geometry: vectors, mags, boxes and grids of chunks."""

from wkpipe.geometry.bounding_box import BoundingBox
from wkpipe.geometry.constants import (
    C_AXIS,
    CXYZ_AXES,
    SPATIAL_AXES,
    T_AXIS,
    TCXYZ_AXES,
    TXYZ_AXES,
    X_AXIS,
    XY_AXES,
    XYZ_AXES,
    Y_AXIS,
    Z_AXIS,
)
from wkpipe.geometry.mag import Mag, MagLike
from wkpipe.geometry.nd_bounding_box import NDBoundingBox
from wkpipe.geometry.normalized_bounding_box import NormalizedBoundingBox
from wkpipe.geometry.vec3_float import Vec3Float, Vec3FloatLike, as_vec3_float_or_none
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike, as_vec3_int_or_none
from wkpipe.geometry.vec_int import VecInt, VecIntLike

__all__ = [
    "CXYZ_AXES",
    "C_AXIS",
    "SPATIAL_AXES",
    "TCXYZ_AXES",
    "TXYZ_AXES",
    "T_AXIS",
    "XYZ_AXES",
    "XY_AXES",
    "X_AXIS",
    "Y_AXIS",
    "Z_AXIS",
    "BoundingBox",
    "Mag",
    "MagLike",
    "NDBoundingBox",
    "NormalizedBoundingBox",
    "Vec3Float",
    "Vec3FloatLike",
    "Vec3Int",
    "Vec3IntLike",
    "VecInt",
    "VecIntLike",
    "as_vec3_float_or_none",
    "as_vec3_int_or_none",
]
