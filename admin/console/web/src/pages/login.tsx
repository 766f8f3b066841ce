import { useRef, useState } from "preact/hooks";
import { Mark, ThemeChoice } from "../brand";
import { api, Failure } from "../api";
import { begin, goodbye } from "../session";

/** why explains a refused login. */
function why(failure: Failure): string {
  switch (failure.status) {
    case 0:
      return `${failure.title}. Check that it runs and that its admin listener can be reached.`;
    case 401:
      return "The hub does not know this token. Check that it is complete and belongs to this hub.";
    case 403:
      return "This token has no admin rights (admin: true in the tokens file).";
    case 404:
      return "The hub has no admin API at /v1/nodes; it may be of another release than this page.";
    default:
      return failure.message;
  }
}

export function Login() {
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState("");
  const input = useRef<HTMLInputElement>(null);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const token = input.current!.value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      setRefused(token ? "A token has printable ASCII characters only, without spaces." : "Type or paste the token.");
      input.current!.focus();
      return;
    }
    setBusy(true);
    try {
      await api.nodes({ token });
      begin(token);
    } catch (error) {
      setBusy(false);
      setRefused(error instanceof Failure ? why(error) : String(error));
      input.current?.select();
    }
  };

  return (
    <main class="login">
      <div class="panel">
        <h1>
          <Mark /> mastersocket
        </h1>
        {goodbye.value && (
          <p class="notice warn" role="alert">
            {goodbye.value}
          </p>
        )}
        {/* post and the page's policy keep the token out of URLs even if the script fails */}
        <form method="post" onSubmit={submit} noValidate>
          <label class="field">
            <span>Admin token</span>
            <input
              ref={input}
              type="password"
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              maxLength={4096}
              autofocus
              aria-describedby="login-hint login-error"
              aria-invalid={refused !== ""}
            />
          </label>
          <p id="login-hint" class="hint">
            This browser tab keeps it until you log out or close the tab. A hub that was started without a token has printed a
            generated one.
          </p>
          <button type="submit" class="primary" disabled={busy}>
            {busy ? "Logging in…" : "Log in"}
          </button>
          <p id="login-error" class="refused" role="alert">
            {refused}
          </p>
        </form>
      </div>
      <ThemeChoice />
    </main>
  );
}
