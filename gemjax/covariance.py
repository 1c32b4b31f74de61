"""Covariance families of a mixture's components, and what a family has to answer."""

from gemjax._families.covariance import Covariance
from gemjax._families.identity import Identity

__all__ = ["Covariance", "Identity"]
