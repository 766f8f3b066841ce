// An order service of the example, as main.go and orders.py: it has a worker price an order, and tells the dashboards.
import { connect } from "@mastersocket/client";

const [url, name] = process.argv.slice(2);
let number = 0;

const hub = await connect({ url, token: process.env.SHOP_TOKEN, group: "orders", name });
// If the worker dies, another one gets the request.
hub.on("order.place", async ({ data: { customer, items } }) => {
  const { data: priced } = await hub.request("ANY:workers", "order.price", items, { timeout: 5_000, retry: true });
  const placed = { number: `${name}-${++number}`, customer, ...priced };
  await hub.send("GROUP:dashboard", "order.placed", placed);
  return placed;
});
console.log(`${name} takes orders`);
process.once("SIGINT", () => hub.close());
