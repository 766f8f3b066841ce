import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import type { Failure } from "./api";
import { nameOf } from "./history";
import { loggedIn } from "./session";

/** Head is the top of a page. It takes the focus when the page is opened, so that a screen reader says where one is. */
export function Head({ title, children, sub }: { title: ComponentChildren; sub?: ComponentChildren; children?: ComponentChildren }) {
  const h1 = useRef<HTMLHeadingElement>(null);
  useEffect(() => h1.current?.focus({ preventScroll: true }), []);
  return (
    <header class="head">
      <div class="titles">
        <h1 tabIndex={-1} ref={h1}>
          {title}
        </h1>
        {sub && <p class="sub">{sub}</p>}
      </div>
      <div class="actions">{children}</div>
    </header>
  );
}

/** Stat is one figure with its name. */
export function Stat({ label, value, note, tone }: { label: string; value: ComponentChildren; note?: ComponentChildren; tone?: Tone | undefined }) {
  return (
    <div class={`stat ${tone ?? ""}`}>
      <dt>{label}</dt>
      <dd class="num">{value}</dd>
      <dd class="note">{note ?? " "}</dd>
    </div>
  );
}

export type Tone = "good" | "warn" | "bad" | "quiet";

/** Badge is a state in a word. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** Nothing stands where a list would be, and says what to do. */
export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="nothing">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
    </div>
  );
}

const advice: Record<number, string> = {
  0: "Is the hub running, and is the way to its admin listener open? This page tries again by itself.",
  403: "The token may not do this. Log out, and log in with one that may administer.",
  404: "This hub has no such thing; it may be of another release than this page. Reload the page.",
  503: "This page tries again by itself.",
  504: "An instance does not answer. This page tries again by itself.",
};

const adviceOnce: Record<number, string> = {
  0: "It is not known whether the hub did it: look before you try again.",
  403: advice[403]!,
  503: "Try again in a moment.",
  504: "It is not known whether all of it was done: look before you try again.",
};

/** Failed says what went wrong with a request, and what to do. Something that one asks for once is not tried again. */
export function Failed({ failure, once }: { failure: Failure; once?: boolean }) {
  if (!loggedIn()) return null;
  const detail = failure.detail && failure.detail !== failure.title ? failure.detail : "";
  const logged = failure.status >= 500 ? "The hub's log says more." : "";
  return (
    <div class="notice bad" role="alert">
      <strong>{failure.title}</strong> {detail && <span>{detail}. </span>}
      {failure.problems.length === 1 && <span>{failure.problems[0]}. </span>}
      <span>{once ? (adviceOnce[failure.status] ?? logged) : (advice[failure.status] ?? (logged && `${logged} This page tries again by itself.`))}</span>
      {failure.problems.length > 1 && (
        <ul>
          {failure.problems.map((p) => (
            <li key={p}>{p}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Notice is a line that somebody should read. */
export function Notice({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <div class={`notice ${tone}`} role="status">
      {children}
    </div>
  );
}

/** Missing says that a list is not all there is. */
export function Missing({ names, what }: { names: string[] | null | undefined; what: string }) {
  if (!names?.length) return null;
  return (
    <Notice tone="warn">
      <strong>
        {names.length === 1 ? "Instance" : "Instances"} <bdi>{names.map(nameOf).join(", ")}</bdi> did not answer
      </strong>{" "}
      within 1 s: {what} there may be missing below.
    </Notice>
  );
}

/** Loading holds the place of what is not there yet. */
export function Loading({ rows = 4 }: { rows?: number }) {
  return (
    <div class="loading" aria-busy="true" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => (
        <i key={i} />
      ))}
    </div>
  );
}

interface ConfirmProps {
  open: boolean;
  title: string;
  action: string;
  busy?: boolean;
  onYes: () => void;
  onNo: () => void;
  children: ComponentChildren;
}

/** Confirm asks before something that can't be taken back. The focus begins on the way out. */
export function Confirm({ open, title, action, busy, onYes, onNo, children }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const closing = useRef(0); // events close that are on their way because of what is done here
  useLayoutEffect(() => {
    const d = dialog.current!;
    if (open && !d.open) d.showModal();
    if (!open && d.open) {
      closing.current++;
      d.close();
    }
  }, [open]);
  // Whether it is open is decided by the property alone: Escape asks for it to change. A browser that closes it all the
  // same says so with close.
  const onCancel = (event: Event) => {
    event.preventDefault();
    onNo();
  };
  const onClose = () => {
    if (closing.current > 0) closing.current--;
    else onNo();
  };
  return (
    <dialog ref={dialog} onCancel={onCancel} onClose={onClose} aria-labelledby={heading}>
      <h2 id={heading}>{title}</h2>
      <div class="text">{children}</div>
      <div class="buttons">
        <button type="button" onClick={onNo} autofocus>
          Cancel
        </button>
        <button type="button" class="danger" onClick={onYes} disabled={busy}>
          {action}
        </button>
      </div>
    </dialog>
  );
}

/** Field is a form's control with its label. */
export function Field({ label, hint, children, grow }: { label: string; hint?: string; grow?: boolean; children: ComponentChildren }) {
  return (
    <label class={`field${grow ? " grow" : ""}`}>
      <span>{label}</span>
      {children}
      {hint && <small>{hint}</small>}
    </label>
  );
}
