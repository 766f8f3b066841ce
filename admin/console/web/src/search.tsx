import { useEffect, useRef, useState } from "preact/hooks";

/** Delay from the last key to the search, in milliseconds. */
const rest = 200;

interface Props {
  value: string;
  onSearch: (text: string) => void;
  placeholder: string;
  primary?: boolean; // gets the focus with the key /
}

/**
 * Search is an input that searches after a pause in typing. The text is kept here, so that rendering the page does not
 * change it.
 */
export function Search({ value, onSearch, placeholder, primary }: Props) {
  const [text, setText] = useState(value);
  const told = useRef(value);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (value === told.current) return;
    told.current = value; // changed from outside
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
