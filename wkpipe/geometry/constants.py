"""The names of axes, and the orders in which arrays usually have them."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

XYZAxis: TypeAlias = Literal["x", "y", "z"]

X_AXIS: Final = "x"
Y_AXIS: Final = "y"
Z_AXIS: Final = "z"
C_AXIS: Final = "c"
T_AXIS: Final = "t"

XY_AXES: Final = (X_AXIS, Y_AXIS)
XYZ_AXES: Final = (X_AXIS, Y_AXIS, Z_AXIS)
CXYZ_AXES: Final = (C_AXIS, *XYZ_AXES)
TXYZ_AXES: Final = (T_AXIS, *XYZ_AXES)
TCXYZ_AXES: Final = (T_AXIS, *CXYZ_AXES)

SPATIAL_AXES: Final = XYZ_AXES
"""The axes that mags, alignment and chunking act on."""
