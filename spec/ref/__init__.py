"""A second implementation of the QuinkGL wire protocol: slow and plain, from the chapters alone."""

from .data import SpecError

__all__ = ["SpecError"]
