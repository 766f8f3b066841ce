// JSON as it was written: numbers keep their digits, repeated names stay. Parsing into values would lose both.

/** pretty lays out a JSON text on several lines. It does not fail on other texts. */
export function pretty(text: string): string {
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.max(0, depth))}`;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') {
      const end = stringEnd(text, i);
      out += text.slice(i, end);
      i = end - 1;
    } else if (c === "{" || c === "[") {
      const close = nextSolid(text, i + 1);
      if (text[close] === "}" || text[close] === "]") {
        out += c + text[close];
        i = close;
      } else {
        depth++;
        out += c + line();
      }
    } else if (c === "}" || c === "]") {
      depth--;
      out += line() + c;
    } else if (c === ",") out += c + line();
    else if (c === ":") out += ": ";
    else if (!/[ \t\r\n]/.test(c)) out += c;
  }
  return out;
}

/** stringEnd returns the index behind the string that begins at start. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
  return text.length;
}

/** compact removes the white space between the tokens of a JSON text. */
export function compact(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '"') {
      const end = stringEnd(text, i);
      out += text.slice(i, end);
      i = end - 1;
    } else if (!/[ \t\r\n]/.test(text[i]!)) out += text[i];
  }
  return out;
}

function nextSolid(text: string, from: number): number {
  while (from < text.length && /[ \t\r\n]/.test(text[from]!)) from++;
  return from;
}

/** memberOf returns the text of a member's value in a JSON object, or undefined if there is none. */
export function memberOf(text: string, name: string): string | undefined {
  let depth = 0;
  let start = -1;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') {
      const end = stringEnd(text, i);
      const colon = nextSolid(text, end);
      if (depth === 1 && start < 0 && text[colon] === ":" && parsed(text.slice(i, end)) === name) {
        start = colon + 1;
        i = colon;
      } else i = end - 1;
      continue;
    }
    if (depth === 1 && start >= 0 && (c === "," || c === "}")) return text.slice(start, i).trim();
    if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") depth--;
  }
  return undefined;
}

/** quoted turns the numbers of all members with that name into strings. */
export function quoted(text: string, name: string): string {
  let out = "";
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '"') continue;
    const end = stringEnd(text, i);
    const colon = nextSolid(text, end);
    const value = nextSolid(text, colon + 1);
    if (text[colon] === ":" && parsed(text.slice(i, end)) === name && /[-0-9]/.test(text[value] ?? "")) {
      let behind = value;
      while (/[-+.0-9eE]/.test(text[behind] ?? "")) behind++;
      out += `${text.slice(from, value)}"${text.slice(value, behind)}"`;
      from = behind;
      i = behind - 1;
    } else i = end - 1;
  }
  return out + text.slice(from);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** plain replaces the escapes of < > & in strings, which the API writes. */
export const plain = (text: string) => text.replace(/\\(?:u00(3c|3e|26)|[^])/gi, (all, hex?: string) => (hex ? String.fromCharCode(parseInt(hex, 16)) : all));

/** problemOf returns the syntax error of a JSON text; empty for none. */
export function problemOf(text: string): string {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return (error as Error).message.replace(/^JSON\.parse: /, "");
  }
}
