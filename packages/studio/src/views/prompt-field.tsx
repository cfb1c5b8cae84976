import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { isBundled } from "../state/capabilities.js";
import { draft, edit } from "../state/draft.js";
import { promptExcess, submitError } from "../state/generation.js";
import { strings } from "../strings.js";

const text = strings.look;

/** How long each example stays while the field is empty. */
const exampleMilliseconds = 6000;

/** The prompt, with changing examples. */
export function PromptField() {
  const { prompt } = draft.value;
  const index = useSignal(0);
  const examples = isBundled.value ? strings.examples.bundled : strings.examples.flux;
  useEffect(() => {
    if (prompt !== "") return;
    const timer = setInterval(() => {
      index.value += 1;
    }, exampleMilliseconds);
    return () => clearInterval(timer);
  }, [prompt === ""]);
  const example = examples[index.value % examples.length]!;
  const refused = submitError.value !== null && submitError.value !== "away" && submitError.value.param;
  return (
    <div class="field">
      <div class="group-head">
        <label class="field-label" for="prompt">
          {text.prompt}
        </label>
        {prompt === "" && (
          <button type="button" class="button button-quiet" onClick={() => edit({ prompt: example })}>
            {text.useExample}
          </button>
        )}
      </div>
      <textarea
        id="prompt"
        class="input"
        rows={4}
        placeholder={example}
        value={prompt}
        aria-invalid={promptExcess.value > 0 || refused === "request.prompt"}
        aria-describedby="prompt-problem"
        onInput={({ currentTarget }) => edit({ prompt: currentTarget.value })}
      />
      <p id="prompt-problem" class="problem" role="status">
        {promptExcess.value > 0 && text.promptTooLong(promptExcess.value)}
      </p>
    </div>
  );
}
