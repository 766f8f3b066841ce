import { signal } from "@preact/signals";

// The admin token. It lives in this variable and nowhere else: not in storage, not in a cookie, not in a URL. A reload
// of the page forgets it.
const token = signal("");

/** Why the last session ended, for the login page; empty if nobody has to be told. */
export const goodbye = signal("");

/** Whether somebody has logged in. */
export const loggedIn = () => token.value !== "";

/** begin keeps the token, which the hub has accepted, for the requests that follow. */
export function begin(accepted: string) {
  goodbye.value = "";
  token.value = accepted;
}

/** end forgets the token and shows the login page, with the reason. */
export function end(reason: string) {
  goodbye.value = reason;
  token.value = "";
}

/** headerOf returns the value of the Authorization header. */
export const headerOf = (candidate?: string) => `Bearer ${candidate ?? token.peek()}`;
