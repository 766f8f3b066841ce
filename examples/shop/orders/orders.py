"""An order service of the example, as main.go and orders.mjs: it has a worker price an order, and tells the dashboards."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from typing import Any, Dict

import mastersocket as ms


async def main(url: str, name: str) -> None:
    stop, numbers = asyncio.Event(), itertools.count(1)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with ms.connect(url, token=os.environ["SHOP_TOKEN"], group="orders", name=name) as hub:

        @hub.answer("order.place")
        async def place(m: ms.Message) -> Dict[str, Any]:
            """Answer order.place; each call is a task. If the worker dies, another one gets the request."""
            priced = await hub.request(ms.any_of("workers"), "order.price", m.data["items"], timeout=5, retry=True)
            placed = {"number": f"{name}-{next(numbers)}", "customer": m.data["customer"], **priced.data}
            await hub.send(ms.group("dashboard"), "order.placed", placed)
            return placed

        print(f"{name} takes orders", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
