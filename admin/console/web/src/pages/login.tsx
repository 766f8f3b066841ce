import { useRef, useState } from "preact/hooks";
import { Mark, ThemeChoice } from "../brand";
import { api, Failure } from "../api";
import { begin, goodbye } from "../session";

/** why says what a refused login means, and what to do. */
function why(failure: Failure): string {
  switch (failure.status) {
    case 0:
      return `${failure.title}. Is it running, and is the way to its admin listener open?`;
    case 401:
      return "The hub does not know this token. Is it complete, and of this hub?";
    case 403:
      return "This token may not administer. Use one that has admin rights in the tokens file.";
    case 404:
      return "This hub has no admin API at /v1/nodes; it may be of another release than this page.";
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
      setRefused(token ? "A token consists of letters, digits and signs of ASCII, without spaces." : "Type or paste the token.");
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
        {/* method and the page's policy see to it that a token can't end up in a URL, whatever happens to the script */}
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
            It stays in the memory of this page: a reload forgets it. A hub that was started without a token printed the one that
            it made.
          </p>
          <button type="submit" class="primary" disabled={busy}>
            {busy ? "Asking the hub…" : "Log in"}
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
