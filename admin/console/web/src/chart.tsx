import { useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "./format";
import { dark } from "./theme";

export interface Line {
  label: string;
  values: (number | null)[];
  color: string; // name of a CSS variable
}

interface Props {
  title: string;
  times: (number | null)[]; // Unix seconds
  lines: Line[];
  format: (n: number) => string;
  span: number; // width in seconds once there are enough samples
  binary?: boolean; // ticks at powers of two, for bytes
  whole?: boolean; // no ticks between whole numbers
}

const height = 132;
const narrowest = 60; // least width in seconds
const decimal = [1, 2, 5].flatMap((n) => Array.from({ length: 12 }, (_, e) => n * 10 ** e)).sort((a, b) => a - b);
const powers = Array.from({ length: 45 }, (_, e) => 2 ** e);

/** Chart draws the last seconds of some lines. The legend has the values at the cursor, or the last ones. */
export function Chart({ title, times, lines, format, span, binary, whole }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const legend = useRef<HTMLDivElement>(null);
  const isDark = dark();
  const data = [times, ...lines.map((l) => l.values)] as uPlot.AlignedData;
  const labels = lines.map((l) => l.label).join("|");

  const tell = (u: uPlot | undefined) => {
    const last = times.length - 1;
    const at = u?.cursor.idx ?? last;
    const cells = legend.current?.querySelectorAll("output") ?? [];
    cells.forEach((cell, i) => {
      const v = u ? u.data[i + 1]?.[at] : lines[i]?.values[last];
      cell.textContent = v === null || v === undefined ? "–" : format(v);
    });
  };
  const telling = useRef(tell);
  telling.current = tell;

  useLayoutEffect(() => {
    const el = box.current!;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: color("--dim"),
      font: `11px ${color("--sans")}`,
      grid: { stroke: color("--grid"), width: 1 },
      ticks: { show: false },
    };
    const u = new uPlot(
      {
        width: Math.max(el.clientWidth, 100),
        height,
        padding: [8, 22, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { setScale: false }, sync: { key: "console" }, points: { size: 6 } },
        scales: {
          x: { range: (self, _min, max) => [Math.max((max ?? 0) - span, Math.min(self.data[0][0] ?? 0, (max ?? 0) - narrowest)), max ?? 0] },
          y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
        },
        axes: [
          { ...axis, size: 24, space: 70, values: (_u, ticks) => ticks.map((t) => clock(new Date(t * 1000)).slice(0, t % 60 ? 8 : 5)) },
          { ...axis, size: 68, space: 28, incrs: binary ? powers : whole ? decimal : [0.1, 0.2, 0.5, ...decimal], values: (_u, ticks) => ticks.map((t) => format(t).replace(/\.0(?!\d)/, "")) },
        ],
        series: [
          {},
          ...lines.map((l) => ({ label: l.label, stroke: color(l.color), width: 1.5, fill: `${color(l.color)}18`, points: { show: false } })),
        ],
        hooks: { setCursor: [(self) => telling.current(self)] },
      },
      data,
      el,
    );
    plot.current = u;
    const watcher = new ResizeObserver(() => u.setSize({ width: Math.max(el.clientWidth, 100), height }));
    watcher.observe(el);
    return () => {
      watcher.disconnect();
      u.destroy();
      plot.current = undefined;
    };
  }, [isDark, labels, span]);

  useLayoutEffect(() => {
    plot.current?.setData(data);
    tell(plot.current);
  });

  return (
    <figure class="panel chart">
      <figcaption>
        <h2>{title}</h2>
        <div class="legend" ref={legend}>
          {lines.map((l) => (
            <span key={l.label}>
              <i class={`swatch ${l.color.slice(2)}`} />
              {l.label} <output class="num" />
            </span>
          ))}
        </div>
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={`${title} of the last ${Math.round(span / 60)} minutes; the legend has the present values`} />
    </figure>
  );
}
