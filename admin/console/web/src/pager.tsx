import { useState } from "preact/hooks";

/** usePages keeps the cursors of the pages up to the present one, until key changes. */
export function usePages(key: string) {
  const [state, setState] = useState<{ key: string; cursors: string[] }>({ key, cursors: [] });
  const cursors = state.key === key ? state.cursors : [];
  const set = (next: string[]) => setState({ key, cursors: next });
  return {
    cursor: cursors.at(-1),
    number: cursors.length + 1,
    first: () => set([]),
    back: () => set(cursors.slice(0, -1)),
    next: (cursor: string) => set([...cursors, cursor]),
  };
}

interface Props {
  pages: ReturnType<typeof usePages>;
  next: string | null | undefined;
  count: string; // of the entries on this page: 100 clients
}

export function Pager({ pages, next, count }: Props) {
  return (
    <nav class="pager" aria-label="Pages of the list">
      <span class="num">
        Page {pages.number} · {count}
        {next ? " · more follow" : ""}
      </span>
      <button type="button" onClick={pages.first} disabled={pages.number === 1}>
        First
      </button>
      <button type="button" onClick={pages.back} disabled={pages.number === 1}>
        Previous
      </button>
      <button type="button" onClick={() => next && pages.next(next)} disabled={!next}>
        Next
      </button>
    </nav>
  );
}
