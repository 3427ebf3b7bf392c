"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Full jitter: a random time up to the first bound, which doubles with each attempt up to the last one. In seconds.
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 20.0

#: The longest wait that the gateway, or a proxy, may ask for.
HINT_MAX = 300.0


class Backoff:
    """Pauses between attempts. Random, since all clients of a gateway lose it at the same moment."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._attempts = 0

    def reset(self) -> None:
        """The connection was good: the next pause is a first one."""
        self._attempts = 0

    def next(self, hint: float | None = None) -> float:
        """Seconds to wait. What the gateway asks for wins, with a little on top that spreads its clients."""
        longest = min(BACKOFF_MAX, BACKOFF_FIRST * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        if hint is not None:
            return min(hint, HINT_MAX) + self._uniform(0, BACKOFF_FIRST)
        return self._uniform(0, longest)
