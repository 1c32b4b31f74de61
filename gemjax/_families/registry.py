"""Which families there are, by mclust's names and by scikit-learn's."""

from __future__ import annotations

from gemjax._families.covariance import Covariance
from gemjax._families.diagonal import Diagonal, SharedDiagonal
from gemjax._families.full import Full
from gemjax._families.identity import Identity
from gemjax._families.spherical import SharedSpherical, Spherical
from gemjax._families.tied import Tied

# mclust's names: volume, shape and orientation, Equal or Varying, or the Identity's.
FAMILIES: dict[str, type[Covariance]] = {
    "EII": SharedSpherical,
    "VII": Spherical,
    "EEI": SharedDiagonal,
    "VVI": Diagonal,
    "EEE": Tied,
    "VVV": Full,
}
NAMES: dict[str, type[Covariance]] = FAMILIES | {
    "identity": Identity,
    "spherical": Spherical,
    "diag": Diagonal,
    "tied": Tied,
    "full": Full,
}


def family(name: str | type[Covariance]) -> type[Covariance]:
    """The class of a family, by mclust's name or scikit-learn's; a class stays what it is.

    >>> import gemjax as gj
    >>> gj.covariance.family("EEE") is gj.covariance.family("tied") is gj.covariance.Tied
    True
    """
    if isinstance(name, type) and issubclass(name, Covariance):
        return name
    if name not in NAMES:
        raise ValueError(f"family must be one of {', '.join(NAMES)}; got {name!r}")
    return NAMES[name]
