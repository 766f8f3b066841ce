import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "./api";

export interface Polled<T> {
  data: T | undefined; // of the last successful response
  failure: Failure | undefined; // of the last attempt
  at: number; // arrival of data, by performance.now
  again: () => void; // repeats the request now
}

/** Delay after a failure, in milliseconds. */
const pauseAfterFailure = 2000;

/**
 * usePoll repeats a request, each time some milliseconds after the last response, until the component is removed or key
 * changes. Responses to an earlier key are never shown. every = 0 sends it once.
 */
export function usePoll<T>(load: (signal: AbortSignal) => Promise<T>, key: string, every: number): Polled<T> {
  const [state, setState] = useState<{ key: string; data?: T; failure?: Failure; at: number }>({ key, at: 0 });
  const latest = useRef(load);
  latest.current = load;
  const wake = useRef<() => void>(() => {});

  useEffect(() => {
    const stop = new AbortController();
    stop.signal.addEventListener("abort", () => wake.current());
    let data: T | undefined;
    let at = 0;
    const run = async () => {
      while (!stop.signal.aborted) {
        let failure: Failure | undefined;
        try {
          data = await latest.current(stop.signal);
          at = performance.now();
        } catch (error) {
          if (stop.signal.aborted) return;
          failure = error instanceof Failure ? error : new Failure(0, "Something went wrong", String(error));
        }
        if (stop.signal.aborted) return;
        setState({ key, at, ...(data !== undefined && { data }), ...(failure && { failure }) });
        const wait = failure ? pauseAfterFailure : every;
        await new Promise<void>((resolve) => {
          const timer = wait > 0 ? setTimeout(resolve, wait) : undefined;
          wake.current = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    };
    void run();
    return () => stop.abort();
  }, [key, every]);

  const again = useCallback(() => wake.current(), []);
  const current = state.key === key;
  return { data: current ? state.data : undefined, failure: current ? state.failure : undefined, at: state.at, again };
}
