"""Rewrites of a model that leave its function unchanged and its weights easier to round."""

from qcourse.transforms import awq, outliers, rotation, smoothquant
from qcourse.transforms.fold import fold, links

__all__ = ["awq", "fold", "links", "outliers", "rotation", "smoothquant"]
