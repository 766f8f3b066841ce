// What survives a reload of the page: values in the tab's session storage, which the browser deletes with the tab. A
// browser that forbids storage keeps nothing.

/** recall returns the stored value, or an empty string. */
export function recall(key: string): string {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** store keeps a value; an empty one is deleted. */
export function store(key: string, value: string) {
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    // The value lasts until the page is reloaded.
  }
}
