"""What a client receives on its connections, merged into one sequence without duplicates."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, List, NamedTuple, Optional

from . import _move as machine
from ._connection import GOODBYE_TIMEOUT, Connection, Mode
from ._errors import SilentError
from ._message import Message
from ._wire import GOODBYE_FRAME, MOVED_FRAME, Identity, fence_frame

if TYPE_CHECKING:
    from ._client import Client
    from ._options import Options

_OWN_IDS = 8  # how many of its former ids a client recognizes as its own
_TICK = 0.01  # how often a move checks its timeouts, in seconds
_DUTY_TIME = 2.0  # how long a connection that is left waits for the last answers that are owed over it, in seconds
_LONG_GAP = 1.0  # between two ticks shows that this process was paused
_FENCE_PREFIX = "fence:"  # begins the ids of FENCEs, so that an ERROR about one can be recognized


class Announcement(NamedTuple):
    """The call of a hook: on_connect with an identity, or on_disconnect with a reason."""

    identity: Optional[Identity] = None
    lost: Optional[BaseException] = None

    def call(self, options: Options) -> Callable[[], Any]:
        if self.identity is not None:
            return functools.partial(options.on_connect or _ignore, self.identity)
        return functools.partial(options.on_disconnect or _ignore, self.lost or ConnectionError())


def _ignore(_: object) -> None:
    pass


class Stream:
    """Executes the actions of a :class:`machine.Machine`, and hands out the messages of a move."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._machine = machine.Machine()
        self._sides: List[Optional[Connection]] = [None, None]  # of the current move
        self._waiting: List[Connection] = []  # connections whose next message waits
        self._ticked = client.loop.time()
        self._performing = False
        self.moving = False  # messages of a move are held, or may be
        self._idle = client.loop.create_future()
        self._idle.set_result(None)
        self._behind: Deque[Announcement] = deque()  # announcements behind the messages of the move
        self._early: Deque[Message] = deque()  # messages of a later connection that ended before the move's were handed out
        self._mine: Deque[str] = deque(maxlen=_OWN_IDS)  # the client's own ids; only without echo

    @property
    def phase(self) -> machine.Phase:
        return self._machine.phase

    @property
    def paused(self) -> float:
        """How long sends were paused in the last move, in seconds."""
        return self._machine.paused

    def left(self) -> Optional[Connection]:
        """Return the connection that the client is about to leave, which still receives; None for none."""
        if self._machine.phase in (machine.Phase.LINGERING, machine.Phase.CLEARING):
            return self._sides[machine.Side.OLD]
        return None

    def idle(self) -> bool:
        """Report whether all messages of the last move are handed out."""
        return not self.moving

    @property
    def quiet(self) -> Any:
        """A future that is done when all messages of the last move are handed out."""
        return self._idle

    def add_own_id(self, client_id: str) -> None:
        if self._client.options.echo:
            return
        if client_id in self._mine:
            self._mine.remove(client_id)
        self._mine.append(client_id)

    def record(self) -> None:
        self._machine.record()

    def stop_recording(self) -> None:
        self._machine.stop_recording()

    def begin(self, old: Connection, new: Connection) -> None:
        """Start a move, before the new connection identifies."""
        self._tick()
        self._sides = [old, new]
        self._machine.begin()
        self.moving = True
        self._idle = self._client.loop.create_future()
        self._client.loop.call_later(0.1, self._pump_regularly, self._idle)

    def new_identified(self) -> None:
        self._tick()
        new = self._sides[machine.Side.NEW]
        assert new is not None
        self._machine.identified(plain="drain" not in new.identity.features)
        self._perform()

    def observe(self, conditions: machine.Conditions) -> None:
        """Report what is known of the old connection, and the time."""
        self._tick()
        self._machine.observe(conditions)
        self._perform()
        self._pump()

    def announce(self, announcement: Announcement) -> None:
        """Queue an announcement behind the messages of the last move."""
        if self.moving:
            self._behind.append(announcement)
        else:
            self._client.inbox.announce(announcement)

    def ready_for(self, connection: Connection) -> bool:
        """Report whether the connection's next message can be received now; else the connection is called when it can."""
        side = self._side_of(connection)
        ready = not self._machine.full(side) if side is not None else not self.moving
        if ready and side is not None:
            return True
        if (not ready or self._client.inbox.full()) and connection not in self._waiting:
            self._waiting.append(connection)
        return ready

    def receive(self, connection: Connection, message: Message) -> None:
        """Handle a message that the connection has read."""
        if self._mine and message.sender in self._mine and message.intent.to_many:
            message.decline()  # an echo from another connection of this client
            return
        if not self.moving and not self._machine.needs_key():
            self._client.give(message)
            return
        side = self._side_of(connection)
        if side is None and self.moving:
            self._early.append(message)  # its connection has ended
            return
        key, many = None, message.intent.to_many
        if self._machine.needs_key():
            self._tick()
            if many:
                key = hashlib.blake2b(message.raw, digest_size=16).digest()
        incoming = machine.Incoming(key, message.sender, many, len(message.raw), message)
        verdict = self._machine.receive(side if side is not None else machine.Side.OLD, incoming)
        self._perform()
        if verdict is machine.Verdict.DELIVER:
            self._client.give(message)
        elif verdict is machine.Verdict.HOLD:
            self._pump()
        else:
            message.decline()

    def _side_of(self, connection: Optional[Connection]) -> Optional[machine.Side]:
        if self._machine.phase is machine.Phase.SINGLE or connection is None:
            return None
        for side in machine.Side:
            if self._sides[side] is connection:
                return side
        return None

    def _tick(self) -> None:
        now = self._client.loop.time()
        elapsed = now - self._ticked
        if elapsed > _LONG_GAP and self._machine.phase is not machine.Phase.SINGLE:
            elapsed = _TICK  # what arrived during a pause of this process is still unread
        self._ticked = now
        self._machine.tick(elapsed)

    # Actions

    def _perform(self) -> None:
        """Execute the machine's actions. An action can lead to an input, whose actions follow."""
        if self._performing:
            return
        self._performing = True
        try:
            while True:
                actions = self._machine.actions()
                if not actions:
                    return
                fenced = set()
                for action in actions:
                    connection = self._sides[action.side]
                    if connection is None or (action.kind is machine.Kind.SEND_FENCE and action.side in fenced):
                        continue  # one FENCE is enough for all inputs until now
                    if action.kind is machine.Kind.SEND_FENCE:
                        fenced.add(action.side)
                    self._act(action, connection)
        finally:
            self._performing = False

    def _act(self, action: machine.Action, connection: Connection) -> None:
        client = self._client
        if action.kind is machine.Kind.DOUBT:
            client.options.logger.warning(
                "moving without a guarantee against loss: no FENCE arrived on the %s connection within %.1f s",
                action.side.name.lower(), action.after,
            )
        elif client.closing.done():
            pass  # both connections are about to end
        elif action.kind is machine.Kind.SEND_FENCE:
            self._write_fence(action.side, connection)
        elif action.kind is machine.Kind.STOP_SENDING:
            client.outbox.stop_sending(connection)
            self.unblocked(connection)
        elif action.kind is machine.Kind.START_SENDING:
            client.start_sending(connection)
        elif action.kind is machine.Kind.LEAVE:
            self._leave(connection, client.loop.time() + _DUTY_TIME)
        elif action.kind is machine.Kind.END:
            connection.end(SilentError(f"the old connection of a move was still there {action.after:.1f} s after "
                                       f"the command to stop sending, or {GOODBYE_TIMEOUT:g} s after DISCONNECT"))

    def _leave(self, connection: Connection, until: float) -> None:
        """Say goodbye on a connection once the last answers that are owed over it are written, or at that time."""
        client = self._client
        due = client.duties.due(connection)
        if due and client.loop.time() < until and not connection.ended and not client.closing.done():
            client.loop.call_later(_TICK, self._leave, connection, until)
        else:  # the new connection may have passed copies of what is due
            connection.leave(GOODBYE_FRAME if due else MOVED_FRAME)

    def _write_fence(self, side: machine.Side, connection: Connection) -> None:
        other = self._sides[1 - side]
        fence_id = _FENCE_PREFIX + str(uuid.uuid4())
        if other is not None and not connection.ended and self._machine.fence_sent(side, fence_id):
            connection.write(fence_frame(fence_id, other.identity.id))

    def unblocked(self, connection: Connection) -> None:
        """Report that what the connection has written is on its way."""
        if connection.congested or connection.mode is not Mode.WAITING:
            return
        if self._side_of(connection) is machine.Side.OLD:
            self._machine.stopped()
            self._perform()

    def ended(self, connection: Connection, announcements: Optional[List[Announcement]] = None) -> bool:
        """Report the end of a connection of the move.

        The result is true if messages may be lost; the announcements then follow the messages of the old connection.
        """
        side = self._side_of(connection)
        if side is None:
            return False
        lost = self._machine.ended(side, announcements)
        new = self._sides[machine.Side.NEW]
        if lost and new is not None:
            self._client.identity = new.identity  # announced behind the old messages
        self._perform()
        self._pump()
        return lost

    def fence_arrived(self, connection: Connection, sender: str) -> None:
        """Handle a FENCE from the hub. Any client may send one to this one."""
        side = self._side_of(connection)
        if side is None or self._machine.phase < machine.Phase.JOINING:
            return
        other = self._sides[1 - side]
        if other is None or sender != other.identity.id:
            return
        self._tick()
        self._machine.fence_arrived(side)
        self._perform()
        self._pump()

    def fence_refused(self, connection: Connection, message_id: str) -> bool:
        """Report whether an ERROR is about a FENCE, which is then sent again."""
        if not message_id.startswith(_FENCE_PREFIX):
            return False
        side = self._side_of(connection)
        if side is not None:
            self._machine.fence_refused(side, message_id)
            self._perform()
        return True

    # Handing out

    def _pump_regularly(self, move: Any) -> None:
        """Check the timeouts of held messages while the move lasts."""
        if self.moving and move is self._idle:
            self._pump()
            self._client.loop.call_later(0.1, self._pump_regularly, move)

    def _pump(self) -> None:
        """Hand out messages of a move while there is room for them."""
        if not self.moving:
            return
        while not self._client.inbox.full():
            self._tick()
            m = self._machine.next()
            for copy in self._machine.dropped():
                self._client.duties.drop_copy(copy.value)
            self._perform()
            if m is None:
                break
            if isinstance(m.value, list):
                for announcement in m.value:
                    self._client.inbox.announce(announcement)
            else:
                self._client.give(m.value)
        if self._machine.phase is machine.Phase.SINGLE:
            self._finish()
        self._wake_waiting()

    def _finish(self) -> None:
        self.moving = False
        self._sides = [None, None]
        while self._early:
            self._client.give(self._early.popleft())
        while self._behind:
            self._client.inbox.announce(self._behind.popleft())
        if not self._idle.done():
            self._idle.set_result(None)

    def wake(self) -> None:
        """Go on, since handlers have caught up or the client ends."""
        self._pump()
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            self._client.loop.call_soon(connection.process)

    def abandon(self) -> None:
        """End without handing out the rest."""
        self.moving = False
        if not self._idle.done():
            self._idle.set_result(None)
