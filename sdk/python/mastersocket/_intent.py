"""Intents: who receives a message."""

from __future__ import annotations

import unicodedata
import uuid
from typing import NamedTuple, Tuple

_MOST_NAMES = 16  # targets of an intent, or exceptions


class Intent(NamedTuple):
    """Addresses a message. Make one with GLOBAL, :func:`group`, :func:`groups`, :func:`direct`, :func:`directs` or
    :func:`any_of`, and :meth:`excluding`.
    """

    target: str  # GLOBAL, GROUP, DIRECT or ANY
    identifier: str = ""  # for GROUP and ANY the group's name; for DIRECT the client's id
    identifiers: Tuple[str, ...] = ()  # several targets in the place of identifier
    excluded: Tuple[str, ...] = ()  # groups, and ids of clients, that are left out

    def __str__(self) -> str:
        targets = ",".join(self.identifiers) or self.identifier
        return (f"{self.target}:{targets}" if targets else self.target) + "".join(f" -{name}" for name in self.excluded)

    def excluding(self, *names: str) -> Intent:
        """Return the intent without the members of these groups, and the clients with these ids: 1 to 16, each once.

        Not for any_of, and not for requests.
        """
        return self._replace(excluded=names)

    @property
    def one_target(self) -> bool:
        """Whether the intent has one target and no exceptions, as a request must have."""
        return not self.identifiers and not self.excluded

    @property
    def to_many(self) -> bool:
        """Whether a message goes to all matching clients, so that both connections of a move get it."""
        return self.target == "GROUP" or self.target == "GLOBAL"


#: Addresses every identified client of the hub.
GLOBAL = Intent("GLOBAL")


def group(name: str) -> Intent:
    """Address every client in the group."""
    return Intent("GROUP", name)


def groups(*names: str) -> Intent:
    """Address every client in one of the groups, 1 to 16 and each named once. Each client gets one copy. Not for requests."""
    return Intent("GROUP", identifiers=names)


def direct(client_id: str) -> Intent:
    """Address the client with the given id, which comes from Message.sender or Client.identity."""
    return Intent("DIRECT", client_id)


def directs(*client_ids: str) -> Intent:
    """Address the clients with the given ids, 1 to 16 and each named once. Not for requests."""
    return Intent("DIRECT", identifiers=client_ids)


def any_of(name: str = "") -> Intent:
    """Address one client of the group, drawn at random by the hub; one of all clients if name is empty."""
    return Intent("ANY", name)


def check_group(name: object) -> None:
    """Check the name of a group by the hub's rules. Raises ValueError."""
    if not isinstance(name, str):
        raise ValueError(f"the name of a group must be text, not {type(name).__name__}")
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= 128:
        raise ValueError(f"the group {name[:50]!r} must have 1 to 128 bytes")
    if name.startswith("$") or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise ValueError(f"the group {name[:50]!r} begins with $ or has a control character")


def check_intent(intent: Intent) -> None:
    """Check an intent by the hub's rules. Raises ValueError."""
    if not isinstance(intent, Intent):
        raise ValueError("the receivers must be an Intent: GLOBAL, group(…), direct(…) or any_of(…)")
    target, one, several, excluded = intent
    if several or excluded:
        if target == "ANY":
            raise ValueError("any_of(…) has one target, and no exceptions")
        if several and one:
            raise ValueError("an intent has either one target or several")
    elif target == "ANY" and not one:
        return
    for names in (several, excluded):
        if len(names) > _MOST_NAMES:
            raise ValueError(f"an intent has at most {_MOST_NAMES} targets, and as many exceptions")
        if len(set(names)) < len(names):
            raise ValueError(f"{intent} names one twice")
    if target == "GLOBAL":
        if one or several:
            raise ValueError(f"{intent!r} is no intent")
    elif target == "GROUP" or target == "ANY":
        for name in several or (one,):
            check_group(name)
    elif target == "DIRECT":
        for name in several or (one,):
            _check_id(name)
    else:
        raise ValueError(f"{intent!r} is no intent")
    for name in excluded:
        check_group(name)  # as every id of a client passes


def _check_id(client_id: object) -> None:
    """Check the id of a client. Raises ValueError."""
    try:
        valid = isinstance(client_id, str) and len(client_id) == 36 and bool(uuid.UUID(client_id))
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{str(client_id)[:50]!r} is not a client id, which is a UUID of 36 characters")
