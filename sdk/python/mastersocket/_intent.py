"""Intents: who receives a message."""

from __future__ import annotations

import unicodedata
import uuid
from typing import NamedTuple


class Intent(NamedTuple):
    """Addresses a message. Make one with GLOBAL, :func:`group`, :func:`direct` or :func:`any_of`."""

    target: str  # GLOBAL, GROUP, DIRECT or ANY
    identifier: str = ""  # for GROUP and ANY the group's name; for DIRECT the client's id

    def __str__(self) -> str:
        return f"{self.target}:{self.identifier}" if self.identifier else self.target

    @property
    def to_many(self) -> bool:
        """Whether a message goes to all matching clients, so that both connections of a move get it."""
        return self.target == "GROUP" or self.target == "GLOBAL"


#: Addresses every identified client of the hub.
GLOBAL = Intent("GLOBAL")


def group(name: str) -> Intent:
    """Address every client in the group."""
    return Intent("GROUP", name)


def direct(client_id: str) -> Intent:
    """Address the client with the given id, which comes from Message.sender or Client.identity."""
    return Intent("DIRECT", client_id)


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
    if intent.target == "GROUP" or (intent.target == "ANY" and intent.identifier):
        check_group(intent.identifier)
    elif intent.target == "DIRECT":
        try:
            valid = len(intent.identifier) == 36 and bool(uuid.UUID(intent.identifier))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"{intent.identifier[:50]!r} is not a client id, which is a UUID of 36 characters")
    elif intent.target not in ("GLOBAL", "ANY") or intent.identifier:
        raise ValueError(f"{intent!r} is no intent")
