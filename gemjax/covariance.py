"""Covariance families of a mixture's components, and what a family has to answer.

A covariance that is known is no family of its own: `Units` with its Cholesky factor takes points to
where it is the identity.
"""

from gemjax._families.covariance import Covariance
from gemjax._families.diagonal import Diagonal, SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.identity import Identity
from gemjax._families.registry import family
from gemjax._families.spherical import SharedSpherical, Spherical
from gemjax._families.tied import Tied

__all__ = [
    "Covariance",
    "Diagonal",
    "Full",
    "Identity",
    "SharedDiagonal",
    "SharedSpherical",
    "Spherical",
    "Tied",
    "family",
]
