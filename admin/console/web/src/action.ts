import { useState } from "preact/hooks";
import { Failure } from "./api";

/** Action is a request that an operator triggers, with its last outcome. */
export interface Action<T> {
  busy: boolean;
  result: T | undefined;
  failure: Failure | undefined;
  act: () => Promise<void>;
}

/** useAction returns an action. It runs at most once at a time. */
export function useAction<T>(run: () => Promise<T>): Action<T> {
  const [state, setState] = useState<Omit<Action<T>, "act">>({ busy: false, result: undefined, failure: undefined });
  const act = async () => {
    if (state.busy) return;
    setState({ busy: true, result: undefined, failure: undefined });
    try {
      setState({ busy: false, result: await run(), failure: undefined });
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure(0, "Something went wrong", String(error));
      setState({ busy: false, result: undefined, failure });
    }
  };
  return { ...state, act };
}
