"""What keeps the positions in groups with history over restarts of the program."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Awaitable, Optional, Protocol, Union

from . import _wire as wire
from ._errors import PositionsError
from ._history import check_positions, positions_json
from ._wire import Position

if TYPE_CHECKING:
    from ._client import Client

_VERSION = 1  # of the file's form
_LEAST_SAVE_TIME = 5.0  # how long close waits for the last save at least, in seconds


class Positions(Protocol):
    """Keeps how far a program has handled groups with history. Both methods may be coroutine functions.

    A client calls them one at a time.
    """

    def load(self) -> Union[Mapping[str, Position], Awaitable[Mapping[str, Position]]]:
        """Return the positions, by group; none where none was kept yet. Its exception fails connect."""

    def save(self, positions: Mapping[str, Position]) -> Optional[Awaitable[None]]:
        """Keep these positions in the place of all that were kept."""


class PositionsFile:
    """Positions in a file, for one client at a time.

    save writes and syncs another file beside it and renames that, so that a crash leaves the one or the other. A missing file
    has no positions; what is malformed, or of a version that this release does not know, is an error.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self._path = os.fspath(path)

    def load(self) -> Mapping[str, Position]:
        try:
            with open(self._path, encoding="utf-8") as f:
                form = json.load(f)
        except FileNotFoundError:
            return {}
        except ValueError as e:
            raise ValueError(f"{self._path}: {e}") from e
        if not isinstance(form, dict) or form.get("version") != _VERSION:
            raise ValueError(f"{self._path}: not of version {_VERSION}, which this release knows")
        try:
            return dict(wire.parse_joined(form.get("positions")))
        except wire.MalformedError:
            raise ValueError(f"{self._path}: a malformed position") from None

    async def save(self, positions: Mapping[str, Position]) -> None:
        text = json.dumps({"version": _VERSION, "positions": positions_json(positions)}, indent=2, sort_keys=True) + "\n"
        await asyncio.get_running_loop().run_in_executor(None, self._write, text.encode())

    def _write(self, text: bytes) -> None:
        folder, name = os.path.split(os.path.abspath(self._path))
        fd, beside = tempfile.mkstemp(prefix=name + ".", dir=folder)
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(beside, self._path)
        except BaseException:
            with suppress(OSError):
                os.remove(beside)
            raise
        if os.name != "nt":  # Windows syncs no folder
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


class Keeper:
    """Loads and saves the positions of a client."""

    def __init__(self, client: Client, dispatching: asyncio.Task[None]) -> None:
        self._client = client
        self._store = client.options.positions
        self._dispatching = dispatching
        self._error: Optional[PositionsError] = None  # of the last time
        self._told = False  # an error waits for on_positions_error
        self._running = None if self._store is None else client.loop.create_task(self._run())

    async def load(self) -> None:
        """Load the positions. Raises PositionsError."""
        if self._store is None:
            return
        try:
            kept = self._store.load()
            if not isinstance(kept, Mapping):
                kept = await kept
            check_positions(kept)
        except Exception as e:
            raise PositionsError(f"load positions: {e}") from e
        self._client.progress.load(kept)

    async def _run(self) -> None:
        """Save what was handled until the last handler has returned."""
        changed = self._client.progress.changed
        while not self._dispatching.done():
            change = self._client.loop.create_task(changed.wait())
            await asyncio.wait({change, self._dispatching}, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            if self._dispatching.done():
                break
            error = await self._save()
            if error is not None:
                self._report(error)
                changed.set()  # it is tried again
            await asyncio.wait({self._dispatching}, timeout=self._client.options.positions_every)
        if changed.is_set():
            error = await self._save()
            if error is not None:
                self._client.options.logger.error("positions are not saved: %s", error)
                self._error = PositionsError(f"save positions: {error}")
                self._error.__cause__ = error

    async def _save(self) -> Optional[Exception]:
        """Save all positions, and return what went wrong."""
        assert self._store is not None
        self._client.progress.changed.clear()
        try:
            saving = self._store.save(self._client.progress.all())
            if saving is not None:
                await asyncio.wait_for(saving, self._client.options.write_timeout)
        except Exception as e:
            return e
        return None

    def _report(self, error: Exception) -> None:
        """Tell of an error. Where the hook has not returned since the last one, that one stands for both."""
        hook = self._client.options.on_positions_error
        if hook is None:
            self._client.options.logger.error("positions can't be saved; trying again: %s", error)
        elif not self._told:
            self._told = True
            self._client.inbox.call(functools.partial(self._tell, hook, error))

    def _tell(self, hook: Any, error: Exception) -> Any:
        self._told = False
        return hook(error)

    async def end(self, timeout: float) -> None:
        """Wait until the last positions are saved. Raises PositionsError."""
        if self._running is None:
            return
        await asyncio.wait({self._running}, timeout=max(timeout, _LEAST_SAVE_TIME))
        if not self._running.done():
            self._running.cancel()
            raise PositionsError("save positions: it takes too long")
        if self._error is not None:
            raise self._error
