"""Invertible matrices by their parameters: the part of a linear map."""

from .base import Matrix, random_rotation
from .lu import LU
from .orthogonal import Orthogonal
from .triangular import Triangular

__all__ = ["LU", "Matrix", "Orthogonal", "Triangular", "random_rotation"]
