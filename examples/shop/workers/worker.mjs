// A worker of the example, as main.go and worker.py: it prices orders. Each order goes to one of all workers.
import { connect, RemoteError } from "@mastersocket/client";

const [url, name] = process.argv.slice(2);
const prices = { tea: 3.5, mug: 12, kettle: 49 };

const hub = await connect({
  url, token: process.env.SHOP_TOKEN, group: "workers", name,
  on: {
    // What it returns is the answer, and what it throws is sent to the requester.
    "order.price": ({ data: items }) => {
      for (const item of items) if (!(item.name in prices)) throw new RemoteError("NO_PRICE", item.name);
      return { total: items.reduce((total, item) => total + prices[item.name] * item.count, 0), worker: name };
    },
  },
});
console.log(`${name} prices orders`);
process.once("SIGINT", () => hub.close());
