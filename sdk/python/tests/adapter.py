"""Connects the Python SDK to the conformance suite, whose README.md describes the lines on standard input and output."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sys
from typing import Any, AsyncIterator, Awaitable, Coroutine, Dict, Iterable, List, Mapping, Optional, Set

import mastersocket as ms
from mastersocket._errors import request_error
from mastersocket._replies import Replies

KINDS = [
    (ms.NoReceiverError, "no_receiver"),
    (ms.ReceiverGoneError, "receiver_gone"),
    (ms.ForbiddenError, "forbidden"),
    (ms.BrokerUnavailableError, "broker_unavailable"),
    (ms.OverloadedError, "overloaded"),
    (ms.OutcomeUnknownError, "outcome_unknown"),
    (ms.TooBigError, "too_big"),
    (ms.DuplicateIDError, "duplicate_id"),
    (ms.NoAcksError, "no_acks"),
    (ms.NotGrantedError, "unsupported"),
    (ms.TooManyRepliesError, "too_many_replies"),
    (ms.TooManyRequestsError, "too_many_requests"),
    (ms.RequestOverError, "request_over"),
    (ms.OptionsError, "options"),
    (ms.SilentError, "silent"),
    (ms.ClosedError, "closed"),
    (asyncio.TimeoutError, "timeout"),
    (asyncio.CancelledError, "cancelled"),
]


def show(line: Dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def settlement(s: ms.Settlement) -> Dict[str, Any]:
    return {**s._asdict(), "missing": [dataclasses.asdict(m) for m in s.missing]}


def outcome(m: ms.Message) -> Dict[str, Any]:
    return {"data": m.data} if m.error is None else {"error": describe(m.error)}


def describe(error: BaseException) -> Dict[str, Any]:
    d: Dict[str, Any] = {"kind": "other", "text": str(error) or type(error).__name__}
    if isinstance(error, ms.HandshakeError):
        return {**d, "kind": "handshake", "status": error.status}
    if isinstance(error, ms.DisconnectError):
        return {**d, "kind": "disconnected", "reason": error.reason, "code": error.code}
    if isinstance(error, ms.GroupError):
        return {**d, "kind": "group", "code": error.code, "group": error.group}
    if isinstance(error, ms.RemoteError):
        return {**d, "kind": "remote", "code": error.code, "message": error.explanation}
    if isinstance(error, ms.RequestError):
        d.update(kind="no_answer", settlement=settlement(error.settlement))
    if isinstance(error, ms.HubError):
        d.update(kind="hub", code=error.code)
    for kind, name in KINDS:
        if isinstance(error, kind):
            return {**d, "kind": name}
    return d


def identity(i: ms.Identity) -> Dict[str, Any]:
    return {
        "id": i.id, "node": i.node, "ping": round(i.ping * 1000), "max_message_bytes": i.max_message_bytes, "features": i.features,
        "session_started": round(i.session_started.timestamp() * 1000),
    }


def intent(text: str) -> ms.Intent:
    target, _, identifier = text.partition(":")
    return ms.Intent(target, identifier)


def echo(m: ms.Message) -> Any:
    return m.data


def fail(m: ms.Message) -> None:
    raise ms.RemoteError("FULL", "no space left")


async def three(m: ms.Message) -> AsyncIterator[int]:
    for i in (1, 2, 3):
        yield i


# What handlers return is the answer.
ANSWERS: Dict[str, Any] = {"answer": echo, "fail": fail, "stream": three}


class LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warn"
        show({"event": "log", "level": level, "text": record.getMessage()})


def ids(members: Iterable[ms.Member]) -> List[str]:
    return sorted(m.id for m in members)


def positions(all_positions: Dict[str, Any]) -> Dict[str, ms.Position]:
    return {group: ms.Position(at.get("epoch") or "", at["offset"]) for group, at in all_positions.items()}


class Store:
    """Keeps positions in the scenario."""

    def __init__(self, kept: Dict[str, ms.Position], fail: int) -> None:
        self.kept, self.fail = kept, fail

    def load(self) -> Dict[str, ms.Position]:
        return self.kept

    def save(self, kept: Mapping[str, ms.Position]) -> None:
        if self.fail > 0:
            self.fail -= 1
            raise OSError("no space left")
        show({"event": "saved", "positions": {group: at._asdict() for group, at in kept.items()}})


class Adapter:
    def __init__(self) -> None:
        self.hub: Any = None
        self.released = asyncio.Event()
        self.counts: Dict[str, int] = {}
        self.added: Dict[str, Any] = {}
        self.watches: Dict[str, ms.Watch] = {}
        self.holds: Dict[str, ms.Hold] = {}
        self.tasks: Set[asyncio.Future[Any]] = set()
        self.running: Dict[int, asyncio.Task[None]] = {}

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def reply(self, m: ms.Message) -> None:
        try:
            await m.reply(m.data)
        except Exception as e:
            show({"event": "reply_failed", "id": m.id, "error": describe(e)})

    async def later(self, m: ms.Message) -> None:
        """Answer after the command release, and tell if no answer is wanted any more before that."""
        release = asyncio.ensure_future(self.released.wait())
        over = asyncio.ensure_future(m.over())
        await asyncio.wait({release, over}, return_when=asyncio.FIRST_COMPLETED)
        if not release.done():
            show({"event": "over", "id": m.id})
            await release
        over.cancel()
        await self.reply(m)

    def handler(self, does: str) -> Any:
        async def handle(m: ms.Message) -> None:
            self.counts[m.event] = self.counts.get(m.event, 0) + 1
            if does in ("record", "wait", "later"):
                line = {
                    "event": "message", "op": 5 if m.is_reply else 0, "id": m.id, "name": m.event, "data": m.data, "sender": m.sender,
                    "to": str(m.intent), "attempt": m.attempt,
                }
                show(line if m.offset is None else {**line, "offset": m.offset})
            if does == "reply":
                await self.reply(m)
            elif does == "later":
                self.begin(self.later(m))
            elif does == "pass":
                m.decline()
            elif does == "throw":
                raise RuntimeError("the handler failed")
            elif does == "wait":
                await self.released.wait()

        return handle

    async def connect(self, o: Dict[str, Any]) -> Dict[str, Any]:
        options: Dict[str, Any] = {
            k: o[k] for k in (
                "url", "token", "group", "groups", "name", "version", "meta", "echo", "acks", "drain", "stop_on_auth_error",
                "fail_fast", "send_queue", "receive_queue", "history",
            ) if o.get(k) is not None
        }
        if o.get("recover"):
            options["recover"] = positions(o["recover"])
        if o.get("positions") is not None:
            options["positions"] = Store(positions(o["positions"]), o.get("positions_fail") or 0)
        for k in ("connect_timeout", "min_backoff", "max_backoff", "positions_every"):
            if o.get(k + "_ms"):
                options[k] = o[k + "_ms"] / 1000
        tokens = list(o.get("tokens") or ())
        if tokens:
            options["token_source"] = lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]
        options.setdefault("group", "")
        handlers: Dict[str, str] = o.get("handlers") or {}
        logger = logging.getLogger("adapter")
        logger.addHandler(LogHandler(logging.WARNING))
        logger.propagate = False
        self.hub = await ms.connect(
            **options,
            on={event: self.handler(does) for event, does in handlers.items() if does not in ANSWERS},
            on_message=self.handler("record") if o.get("on_message") else None,
            on_connect=lambda i: show({"event": "connected", "id": i.id}),
            on_disconnect=lambda e: show({"event": "disconnected", "error": describe(e)}),
            on_error=lambda e: show({
                "event": "error", "error": describe(e), "id": e.id, "name": e.event, "to": str(e.intent) if e.intent else "",
            }),
            on_gap=lambda g: show({"event": "gap", "group": g.group, "reason": g.reason, **g.position._asdict()}),
            on_positions_error=lambda e: show({"event": "positions_failed", "error": describe(e)}),
            logger=logger,
        )
        for event, does in handlers.items():
            if does in ANSWERS:
                self.hub.answer(event, ANSWERS[does])
        self.begin(self.watch_end())
        return identity(self.hub.identity)

    async def watch_end(self) -> None:
        try:
            await self.hub.wait_closed()
            error: BaseException = ms.ClosedError("closed")
        except Exception as e:
            error = e
        show({"event": "ended", "error": describe(error)})

    async def watch(self, group: str) -> None:
        watch = self.watches[group] = await self.hub.watch(group)
        changes = watch.__aiter__()
        self.show_change(watch, await changes.__anext__())
        self.begin(self.show_changes(watch, changes))

    async def show_changes(self, watch: ms.Watch, changes: AsyncIterator[ms.Change]) -> None:
        async for change in changes:
            self.show_change(watch, change)

    def show_change(self, watch: ms.Watch, change: ms.Change) -> None:
        line: Dict[str, Any] = {
            "event": "presence", "group": watch.group, "joined": ids(change.joined), "updated": ids(change.updated),
            "left": [{"id": m.id, "reason": reason} for m, reason in change.left],
            "moved": [{"from": old, "to": m.id} for old, m in change.moved],
            "members": ids(watch.members.values()), "missing": watch.missing,
        }
        show(line if watch.count is None else {**line, "count": watch.count})

    async def hold(self, group: str) -> Dict[str, Any]:
        hold = self.holds[group] = await self.hub.hold(group)
        self.begin(self.watch_hold(hold))
        return {"term": hold.term}

    async def watch_hold(self, hold: ms.Hold) -> None:
        await hold.lost()
        show({"event": "hold_lost", "group": hold.group})

    async def run_group(self, c: Dict[str, Any]) -> Any:
        """Run a command about groups and their members."""
        cmd, group = c["cmd"], c.get("group") or ""
        if cmd == "subscribe":
            return await self.hub.subscribe(*c["groups"])
        if cmd == "unsubscribe":
            return await self.hub.unsubscribe(*c["groups"])
        if cmd == "set_meta":
            return await self.hub.set_meta(c["meta"])
        if cmd == "set_weight":
            return await self.hub.set_weight(c["weight"])
        if cmd == "groups":
            return {"groups": sorted(self.hub.groups)}
        if cmd == "position":
            at = self.hub.position(group)
            return {"position": None if at is None else at._asdict()}
        if cmd == "watch":
            return await self.watch(group)
        if cmd == "unwatch":
            return await self.watches[group].close()
        if cmd == "hold":
            return await self.hold(group)
        if cmd == "held":
            return {"term": self.holds[group].term, "left": self.holds[group].held}
        if cmd == "release_hold":
            return await self.holds[group].release()
        raise ValueError(f"unknown command {cmd!r}")

    async def request(self, c: Dict[str, Any], to: ms.Intent, event: str, data: Any, message_id: Optional[str]) -> Any:
        """Run a command that sends a request."""
        cmd, n = c["cmd"], c.get("replies") or 0
        timeout = c["timeout_ms"] / 1000 if c.get("timeout_ms") else None
        if cmd == "request" and n == 1:
            m = await self.hub.request(
                to, event, data, timeout=timeout, id=message_id, retry=c.get("retry") or False, key=c.get("key") or "",
            )
            return {"replies": [m.data]}
        if cmd == "stream":
            return await self.stream(self.hub.request_many(to, event, data, timeout=timeout, id=message_id), n, to, event)
        async with self.hub.request_many(to, event, data, expect=n, timeout=timeout, id=message_id) as replies:
            all_replies = [m async for m in replies]
        if cmd == "request":
            return {"replies": [m.data for m in all_replies]}
        s = replies.settlement
        return {"replies": [outcome(m) for m in all_replies], "settlement": None if s is None else settlement(s)}

    async def stream(self, request: Replies, n: int, to: ms.Intent, event: str) -> None:
        """Show the replies as they arrive, and leave the loop after n."""
        got = 0
        async with request as replies:
            async for m in replies:
                show({"event": "reply", "id": m.id, "more": m.more, **outcome(m)})
                got += 1
                if got == n:
                    return
        s = request.settlement
        if s is not None and (s.missing or not s.replied):
            raise request_error(event, to, s)

    async def run(self, c: Dict[str, Any]) -> Any:
        cmd, to, event, data, message_id = c["cmd"], intent(c.get("to") or ""), c.get("event") or "", c.get("data"), c.get("id") or None
        if cmd == "connect":
            return await self.connect(c["options"])
        if cmd == "send":
            return await self.hub.send(to, event, data, id=message_id, once=c.get("once") or False)
        if cmd == "send_acked":
            ack = await self.hub.send_acked(to, event, data, id=message_id, once=c.get("once") or False)
            return {"instances": ack.instances} if ack.offset is None else {"instances": ack.instances, "offset": ack.offset}
        if cmd in ("request", "request_all", "stream"):
            return await self.request(c, to, event, data, message_id)
        if cmd == "cancel":
            self.running[c["of"]].cancel()
            return None
        if cmd == "on":
            self.added[event] = self.hub.on(event, self.handler(c["handler"]))
        elif cmd == "off":
            self.hub.off(event, self.added[event])
        elif cmd == "release":
            self.released.set()
        elif cmd == "close":
            await self.hub.close(c["timeout_ms"] / 1000 if c.get("timeout_ms") else 3600)
        elif cmd == "identity":
            return identity(self.hub.identity)
        elif cmd == "count":
            return {"count": self.counts.get(event, 0)}
        else:
            return await self.run_group(c)
        return None

    async def answer(self, c: Dict[str, Any]) -> None:
        run: Awaitable[Any] = self.run(c)
        if c.get("timeout_ms") and c["cmd"] not in ("request", "request_all", "stream", "close"):
            run = asyncio.wait_for(run, c["timeout_ms"] / 1000)
        try:
            ok = await run
        except (Exception, asyncio.CancelledError) as e:
            show({"n": c["n"], "error": describe(e)})
        else:
            show({"n": c["n"], "ok": ok or {}})


async def main() -> None:
    adapter, loop = Adapter(), asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while True:
        line: Optional[bytes] = await reader.readline()
        if not line:
            break
        command = json.loads(line)
        task = adapter.running[command["n"]] = loop.create_task(adapter.answer(command))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(main())
