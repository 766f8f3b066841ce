"""A worker of the example, as main.go and worker.mjs: it prices orders. Each order goes to one of all workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, Dict

import mastersocket as ms

PRICES = {"tea": 3.5, "mug": 12.0, "kettle": 49.0}


async def main(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)

    def price(m: ms.Message) -> Dict[str, Any]:
        """Answer order.price. An exception is sent to the requester."""
        unknown = [item["name"] for item in m.data if item["name"] not in PRICES]
        if unknown:
            raise ms.RemoteError("NO_PRICE", unknown[0])
        return {"total": sum(PRICES[item["name"]] * int(item["count"]) for item in m.data), "worker": name}

    async with ms.connect(url, token=os.environ["SHOP_TOKEN"], group="workers", name=name) as hub:
        hub.answer("order.price", price)
        print(f"{name} prices orders", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
