import { signal } from "@preact/signals";

/** A location within the console: the path in decoded segments, and the query. */
export interface Place {
  parts: string[];
  query: URLSearchParams;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no page has it
  }
}

function here(): Place {
  return {
    parts: location.pathname.split("/").filter(Boolean).map(decode),
    query: new URLSearchParams(location.search),
  };
}

export const place = signal<Place>(here());

addEventListener("popstate", () => (place.value = here()));

/** go shows another page. replace removes the present one from the history. */
export function go(to: string, replace = false) {
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = here();
}

/** onLink follows links within the console without loading a document. */
export function onLink(event: MouseEvent) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.("a");
  if (!link || link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
  if (link.hash && link.pathname === location.pathname) return; // within the page
  if (link.pathname.endsWith(".txt") || link.pathname.startsWith("/v1/")) return; // a file
  event.preventDefault();
  go(link.pathname + link.search);
}

export const clientPath = (id: string) => `/clients/${encodeURIComponent(id)}`;

/** groupPath returns the path of a group. The names . and .. can't be path segments: they lead to the list. */
export const groupPath = (name: string) => (/^\.\.?$/.test(name) ? `/groups?prefix=${name}` : `/groups/${encodeURIComponent(name)}`);
