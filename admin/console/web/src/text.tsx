// What clients sent is shown by these, and nothing else. It goes into text nodes only. Characters that would be
// invisible, or reorder what stands around them, are shown as what they are.

const hidden =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** How much of a string is shown where there is little room. */
const short = 200;

const code = (c: string) => `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;

/** visible returns the string with its hidden characters written out, for attributes. */
export const visible = (s: string) => s.replace(hidden, (c) => `[${code(c)}]`);

function pieces(s: string) {
  const out: (string | preact.JSX.Element)[] = [];
  let end = 0;
  for (const m of s.matchAll(hidden)) {
    if (m.index > end) out.push(s.slice(end, m.index));
    out.push(<span class="escaped">{code(m[0])}</span>);
    end = m.index + m[0].length;
  }
  if (end < s.length) out.push(s.slice(end));
  return out;
}

/** Said shows a string that a client chose, on one line, cut where there is no room. */
export function Said({ value, mono, wide }: { value: string; mono?: boolean; wide?: boolean }) {
  const cut = !wide && value.length > short;
  const text = cut ? value.slice(0, short) : value;
  return (
    <bdi class={`said${mono ? " mono" : ""}${wide ? " wide" : ""}`} title={visible(text) + (cut ? `… (${value.length} characters)` : "")}>
      {pieces(text)}
      {cut && "…"}
    </bdi>
  );
}

/** SaidBlock shows all of a text that a client chose, on as many lines as it has. */
export function SaidBlock({ value }: { value: string }) {
  return (
    <pre class="block" dir="ltr" tabIndex={0}>
      {value.split("\n").map((line, i) => (
        <>
          {i > 0 && "\n"}
          {pieces(line)}
        </>
      ))}
    </pre>
  );
}

/** Id shows an id: where there is little room its first part, which tells clients apart. */
export function Id({ value, full }: { value: string; full?: boolean }) {
  return (
    <span class="mono" title={value}>
      {full ? value : value.slice(-12)}
    </span>
  );
}
