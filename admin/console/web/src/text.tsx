// The only components that show what clients sent. It goes into text nodes. Characters that are invisible or reorder the
// text around them are shown as code points.

const hidden =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** Characters that are shown of a long string. */
const short = 200;

const code = (c: string) => `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;

/** visible returns the string with hidden characters as code points, for attributes. */
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

/** Said shows a string that a client chose, on one line, cut if there is no room. */
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

/** SaidBlock shows a text that a client chose, with its line breaks. */
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

/** Id shows an id or its last part, which differs between clients. */
export function Id({ value, full }: { value: string; full?: boolean }) {
  return (
    <span class="mono" title={value}>
      {full ? value : value.slice(-12)}
    </span>
  );
}
