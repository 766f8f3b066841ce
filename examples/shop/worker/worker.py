"""A worker of the example: it prices orders. Start as many as you like; each order goes to one of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, Dict, List

import mastersocket as ms

PRICES = {"tea": 3.5, "mug": 12.0, "kettle": 49.0}


def price(items: List[Dict[str, Any]]) -> float:
    return sum(PRICES[item["name"]] * int(item["count"]) for item in items)


async def main(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with ms.connect(url, token=os.environ["SHOP_TOKEN"], group="workers", name=name) as hub:
        @hub.on("order.price")
        async def order_price(m: ms.Message) -> None:
            try:
                await m.reply({"total": price(m.data), "worker": name})
            except (KeyError, TypeError, ValueError) as e:
                await m.reply({"total": 0, "worker": name, "error": f"no price: {e!r}"})

        print(f"{name} prices orders", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
