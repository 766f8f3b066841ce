import { signal } from "@preact/signals";

/** The place within the console: a path in decoded segments, and the query. */
export interface Place {
  parts: string[];
  query: URLSearchParams;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // not ours: no page will have it
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

/** go shows another page. With replace, the way back skips the present one. */
export function go(to: string, replace = false) {
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = here();
}

/** onLink lets the page follow its own links without loading anything. */
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

/** groupPath leads to a group. The names . and .. can't be in a path: there the list has to do. */
export const groupPath = (name: string) => (/^\.\.?$/.test(name) ? `/groups?prefix=${name}` : `/groups/${encodeURIComponent(name)}`);
