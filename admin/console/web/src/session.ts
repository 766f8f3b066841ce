import { signal } from "@preact/signals";
import { recall, store } from "./storage";

// The admin token. It is in this variable and in the session storage of the tab, so that a reload keeps the session. It
// is in no cookie and no URL, and is sent to the API only.
const key = "mastersocket.token";
const token = signal(recall(key));

/** Why the last session ended, for the login page; empty if there is nothing to say. */
export const goodbye = signal("");

/** Whether the token may only look (admin: read in the tokens file), as the hub says with each response. */
export const readOnly = signal(false);

/** learn takes over what a response says of the token. */
export function learn(response: Response) {
  readOnly.value = response.headers.get("Mastersocket-Role") === "read";
}

export const loggedIn = () => token.value !== "";

/** begin keeps a token that the hub has accepted. */
export function begin(accepted: string) {
  goodbye.value = "";
  store(key, accepted);
  token.value = accepted;
}

/** end deletes the token and shows the login page with the reason. */
export function end(reason: string) {
  goodbye.value = reason;
  readOnly.value = false;
  store(key, "");
  token.value = "";
}

/** headerOf returns the value of the Authorization header. */
export const headerOf = (candidate?: string) => `Bearer ${candidate ?? token.peek()}`;
