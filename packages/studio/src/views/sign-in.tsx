import { useSignal } from "@preact/signals";
import { signIn } from "../state/session.js";
import { noteToken } from "../state/token-use.js";
import { strings } from "../strings.js";

const text = strings.signIn;

/** Asks for the server's token. */
export function SignIn() {
  const token = useSignal("");
  const problem = useSignal<string | null>(null);
  const submit = async (): Promise<void> => {
    problem.value = await signIn(token.value.trim()).then(
      (taken) => {
        if (taken) noteToken();
        return taken ? null : text.wrong;
      },
      () => text.away,
    );
  };
  return (
    <main class="sign-in">
      <form
        class="sign-in-card"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <h1>{text.title}</h1>
        <p class="quiet">{text.text}</p>
        <label class="field-label" for="token">
          {text.token}
        </label>
        <input
          id="token"
          class="input"
          type="password"
          autocomplete="current-password"
          required
          value={token.value}
          aria-invalid={problem.value !== null}
          aria-describedby="token-problem"
          onInput={({ currentTarget }) => {
            token.value = currentTarget.value;
          }}
        />
        <p id="token-problem" class="problem" role="alert">
          {problem.value}
        </p>
        <button type="submit" class="button button-primary">
          {text.enter}
        </button>
      </form>
    </main>
  );
}
