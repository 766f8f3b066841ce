// The dashboard of the example: it shows orders as they are placed, and can place one.
import { connect } from "@mastersocket/client";

const parameters = new URLSearchParams(location.hash.slice(1));
const show = (id, text) => { document.getElementById(id).textContent = text; };

const hub = await connect({
  url: parameters.get("hub") ?? "ws://127.0.0.1:42069",
  token: parameters.get("token") ?? prompt("The dashboard's token"),
  group: "dashboard", name: "dashboard",
  on: {
    "order.placed": ({ data }) => {
      const row = document.getElementById("orders").insertRow(0);
      for (const cell of [data.number, data.customer, data.total.toFixed(2), data.worker]) {
        row.insertCell().textContent = cell;
      }
    },
  },
  onConnect: (identity) => show("state", `connected to ${identity.node}`),
  onDisconnect: (reason) => show("state", `not connected: ${reason.message}`),
});

const button = document.getElementById("order");
button.disabled = false;
button.onclick = async () => {
  const order = { customer: "the dashboard", items: [{ name: "tea", count: 2 }, { name: "mug", count: 1 }] };
  try {
    const { data } = await hub.request("ANY:orders", "order.place", order, { timeout: 6_000 });
    show("answer", `order ${data.number}: ${data.total.toFixed(2)}`);
  } catch (error) {
    show("answer", error.message);
  }
};
