import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import type { Failure } from "./api";
import { nameOf } from "./history";
import { loggedIn } from "./session";

/** Head is the top of a page. It takes the focus when the page is opened, so that a screen reader announces the page. */
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

/** Stat is a figure with its name. */
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

/** Nothing takes the place of an empty list and says what to do. */
export function Nothing({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="nothing">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
    </div>
  );
}

const advice: Record<number, string> = {
  0: "Check that the hub runs and that its admin listener can be reached. The page tries again.",
  403: "The token does not permit this. Log in with one that has admin rights.",
  404: "The hub may be of another release than this page. Reload the page.",
  503: "The page tries again.",
  504: "An instance does not answer. The page tries again.",
};

const adviceOnce: Record<number, string> = {
  0: "Whether the hub has done it is unknown: check before you try again.",
  403: advice[403]!,
  503: "Try again in a moment.",
  504: "Whether it was done completely is unknown: check before you try again.",
};

/** sentence returns a message of the API with a capital letter and a full stop. */
const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");

/** Failed shows the error of a request and what to do. once: the request is not repeated by the page. */
export function Failed({ failure, once }: { failure: Failure; once?: boolean }) {
  if (!loggedIn()) return null;
  const logged = failure.status >= 500 ? "The hub's log has details." : "";
  const next = once ? (adviceOnce[failure.status] ?? logged) : (advice[failure.status] ?? (logged && `${logged} The page tries again.`));
  return (
    <div class="notice bad" role="alert">
      <strong>{sentence(failure.status === 0 ? failure.title : failure.detail || failure.title)}</strong>{" "}
      {failure.status === 0 && failure.detail && <span>{sentence(failure.detail)} </span>}
      {failure.problems.length === 1 && <span>{sentence(failure.problems[0]!)} </span>}
      <span>{next}</span>
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

/** Notice is a message within a page. */
export function Notice({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <div class={`notice ${tone}`} role="status">
      {children}
    </div>
  );
}

/** Missing says that a list is incomplete. */
export function Missing({ names, what }: { names: string[] | null | undefined; what: string }) {
  if (!names?.length) return null;
  return (
    <Notice tone="warn">
      <strong>
        {names.length === 1 ? "Instance" : "Instances"} <bdi>{names.map(nameOf).join(", ")}</bdi> did not answer
      </strong>{" "}
      within 1 s: {what} on {names.length === 1 ? "it" : "them"} are missing below.
    </Notice>
  );
}

/** Loading takes the place of content that has not arrived. */
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

/** Confirm asks before an irreversible action. The focus begins on Cancel. */
export function Confirm({ open, title, action, busy, onYes, onNo, children }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const closing = useRef(0); // pending close events that this component caused
  useLayoutEffect(() => {
    const d = dialog.current!;
    if (open && !d.open) d.showModal();
    if (!open && d.open) {
      closing.current++;
      d.close();
    }
  }, [open]);
  // The property alone decides whether the dialog is open; Escape asks for a change. If a browser closes the dialog
  // nevertheless, the event close reports it.
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

/** Field is a control with its label. */
export function Field({ label, hint, children, grow }: { label: string; hint?: string; grow?: boolean; children: ComponentChildren }) {
  return (
    <label class={`field${grow ? " grow" : ""}`}>
      <span>{label}</span>
      {children}
      {hint && <small>{hint}</small>}
    </label>
  );
}
