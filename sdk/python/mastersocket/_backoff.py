"""How long a client waits before it connects again."""

from __future__ import annotations

import random
from typing import Optional

from ._connection import Connection
from ._errors import DisconnectError
from ._options import Options

_CROWDED_WAIT = 5.0  # the longest random time added to the wait if the hub is overloaded
_MIN_AUTH_WAIT, _MAX_AUTH_WAIT = 5.0, 300.0  # the bounds of the waits after a refusal of the token
_IDENTIFY_REFUSED = "IDENTIFY_FAILED"


class Backoff:
    """Waits that are uniform between 0 and a bound, which doubles."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._bound = options.min_backoff

    def next(self, error: Optional[BaseException]) -> float:
        """Return the wait after an attempt that failed, or a connection that ended, with the error."""
        wait = random.uniform(0, self._bound)
        self._bound = min(2 * self._bound, self._options.max_backoff)
        return wait + (random.uniform(0, _CROWDED_WAIT) if _is_crowded(error) else 0.0)

    def reset(self) -> None:
        self._bound = self._options.min_backoff


class AuthBackoff:
    """Waits after refusals of the token. Their bound doubles, too, but they are never short."""

    def __init__(self) -> None:
        self._bound = 0.0

    def next(self) -> float:
        self._bound = min(max(2 * self._bound, _MIN_AUTH_WAIT), _MAX_AUTH_WAIT)
        return random.uniform(self._bound / 2, self._bound)

    def reset(self) -> None:
        self._bound = 0.0


def is_refusal(error: BaseException) -> bool:
    """Report whether the hub refused the token or a group."""
    return isinstance(error, DisconnectError) and error.reason == _IDENTIFY_REFUSED


def _is_crowded(error: Optional[BaseException]) -> bool:
    """Report whether the hub is overloaded, so that clients must reconnect more slowly."""
    return isinstance(error, DisconnectError) and error.reason in ("TRY_AGAIN_LATER", "RATE_LIMITED", "SLOW_CONSUMER")


def delay_after(connection: Connection, most: float) -> float:
    """Return the additional wait before a reconnect if the connection ended after a DRAIN.

    At the deadline the hub disconnects all remaining clients at once. Each waits for its slot again.
    """
    n = connection.notice
    if n is None or n.optional or n.reason == "expiry":
        return 0.0
    return (n.due - n.arrived) % most
