"""Lowering: systems of fields to systems of arrays on a grid."""

from .discretise import Fields as Fields, Scheme as Scheme, discretise as discretise
from .grid import Chebyshev as Chebyshev, stretched as stretched
from .spectral import Semilinear as Semilinear
from .staggered import Staggered as Staggered
from .volume import Volumes as Volumes
