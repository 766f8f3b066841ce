import { useEffect, useRef, useState } from "preact/hooks";

/** How long after the last key one has finished typing, in milliseconds. */
const rest = 200;

interface Props {
  value: string;
  onSearch: (text: string) => void;
  placeholder: string;
  primary?: boolean; // the key / leads here
}

/**
 * Search is an input that says what was typed once one stops typing. What one types is kept here, so that a page that is
 * drawn anew meanwhile takes nothing away.
 */
export function Search({ value, onSearch, placeholder, primary }: Props) {
  const [text, setText] = useState(value);
  const told = useRef(value);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (value === told.current) return;
    told.current = value; // somebody else has changed it
    setText(value);
  }, [value]);
  const type = (typed: string) => {
    setText(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      told.current = typed;
      onSearch(typed);
    }, rest);
  };
  return (
    <input
      type="search"
      data-search={primary}
      value={text}
      onInput={(e) => type(e.currentTarget.value)}
      placeholder={placeholder}
      autocomplete="off"
      spellcheck={false}
      maxLength={128}
    />
  );
}
