import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props {
  label: string;
  fixed?: boolean; // of a fixed height, with its own vertical scroll bar
  children: ComponentChildren;
}

/** Scroll is a region that scrolls sideways if its table is wider. A hint says so until the end is reached. */
export function Scroll({ label, fixed, children }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [cut, setCut] = useState(false);
  const measure = () => {
    const el = box.current;
    if (el) setCut(el.scrollLeft + el.clientWidth < el.scrollWidth - 1);
  };
  useLayoutEffect(measure);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(measure);
    watcher.observe(box.current!);
    return () => watcher.disconnect();
  }, []);
  return (
    <div class={`scroller${cut ? " cut" : ""}`}>
      {cut && (
        <p class="more" aria-hidden="true">
          more columns →
        </p>
      )}
      <div class={`scroll${fixed ? " fixed" : ""}`} ref={box} onScroll={measure} tabIndex={0} role="region" aria-label={label}>
        {children}
      </div>
    </div>
  );
}
