"""Messages from other clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._intent import Intent, direct

if TYPE_CHECKING:
    from ._client import Client


class Message:
    """A message from another client."""

    __slots__ = ("reply_to", "id", "event", "data", "sender", "intent", "raw", "members", "_client")

    def __init__(
        self, client: Client, is_reply: bool, message_id: str, event: str, data: Any, sender: str, intent: Intent, raw: bytes,
        members: Any,
    ) -> None:
        self._client = client
        #: Whether it is a REPLY, which must not be answered.
        self.reply_to = is_reply
        #: Correlates an EVENT with its REPLYs.
        self.id = message_id
        #: The event's name.
        self.event = event
        #: The data, decoded; None if there is none. An integer of more than 4,300 digits is a decimal.Decimal.
        self.data = data
        #: The sender's id, set by the hub.
        self.sender = sender
        #: How it was addressed.
        self.intent = intent
        #: The envelope as it arrived, in UTF-8.
        self.raw = raw
        #: All members of the envelope, decoded.
        self.members = members

    def __repr__(self) -> str:
        return f"<Message {self.event!r} {self.id!r} from {self.sender} to {self.intent}>"

    async def reply(self, data: Any = None) -> None:
        """Send a REPLY to the message's sender, with the same id and event. Errors are those of Client.send."""
        await self._client._reply(self.id, direct(self.sender), self.event, data)
