import { asError } from "./errors.js";

/** How long to wait for the outcome of a change, which may happen all the same. */
export interface Wait {
  signal?: AbortSignal;
  /** In ms. */
  timeout?: number;
}

/** Rejects when the signal is aborted before the promise is settled. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      reject(asError(signal.reason));
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener("abort", stop);
    });
  });
}

/** Rejects when the signal is aborted or the time is over before the promise is settled. */
export function waiting<T>(promise: Promise<T>, { signal, timeout }: Wait = {}): Promise<T> {
  const outer = signal ? unlessAborted(promise, signal) : promise;
  return timeout === undefined ? outer : unlessAborted(outer, AbortSignal.timeout(timeout));
}

/** Reports whether the promise is settled within ms. */
export async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => {
      resolve(false);
    }, ms);
  });
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
