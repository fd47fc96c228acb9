"""The categories of layers, by the names under which scripts import them."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.element_class import LayerCategory as LayerCategories

__all__ = ["COLOR_CATEGORY", "SEGMENTATION_CATEGORY", "LayerCategories", "LayerCategory", "LayerCategoryType"]

LayerCategoryType: TypeAlias = LayerCategory | Literal["color", "segmentation"]

COLOR_CATEGORY: Final = LayerCategory.COLOR
SEGMENTATION_CATEGORY: Final = LayerCategory.SEGMENTATION
