"""Weight rules and mean rules as objects, and what a rule of your own derives from."""

from gemjax._em.registry import *  # noqa: F403
from gemjax._weights.registry import *  # noqa: F403
