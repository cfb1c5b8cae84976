import type { PlanObject } from "@mflux-depth/server/contract";
import { memoryText, roughTime, sizeText } from "../controls/format.js";
import { capabilities } from "../state/capabilities.js";
import { draft } from "../state/draft.js";
import {
  applyAlternative,
  generate,
  isSubmitting,
  plan,
  promptExcess,
  size,
  submitError,
} from "../state/generation.js";
import { isMaskMissing } from "../state/mask.js";
import { strings } from "../strings.js";

const text = strings.generate;

/** Whether there is something to generate from. */
export const canGenerate = (): boolean =>
  // The usual size depends on the model.
  capabilities.value !== null &&
  draft.value.prompt.trim() !== "" &&
  promptExcess.value === 0 &&
  !isMaskMissing.value &&
  !isSubmitting.value &&
  (draft.value.photo ?? draft.value.map) !== null;

/** The button to generate, with what it will cost. */
export function GenerateBar() {
  const known = plan.value.state === "known" ? plan.value.plan : null;
  return (
    <section class="generate-bar" aria-label={text.action}>
      {known && !known.fits && <TooLarge plan={known} />}
      <SubmitProblem />
      <button
        type="button"
        class="button button-primary generate"
        aria-keyshortcuts="Control+Enter Meta+Enter"
        aria-describedby="cost"
        disabled={!canGenerate()}
        onClick={() => void generate()}
      >
        {isSubmitting.value ? text.submitting : text.action}
      </button>
      <p id="cost" class="quiet small number cost">
        {missingText() ?? costText()}
      </p>
    </section>
  );
}

/** What the person still has to do; null if nothing is missing. */
function missingText(): string | null {
  if (draft.value.prompt.trim() === "") return strings.look.promptMissing;
  return isMaskMissing.value ? text.maskMissing : null;
}

function costText(): string {
  const state = plan.value;
  if (state.state === "none") return "";
  const known = state.state === "known" ? state.plan : state.last;
  if (!known) return text.asking;
  const time = known.estimated_seconds === null ? null : roughTime(known.estimated_seconds);
  return text.cost(time, memoryText(known.peak_bytes));
}

function TooLarge({ plan: { peak_bytes, available_bytes, alternatives } }: { readonly plan: PlanObject }) {
  const [best] = alternatives;
  return (
    <div class="notice notice-bad" role="status">
      <p>{text.tooLarge(memoryText(peak_bytes), memoryText(available_bytes))}</p>
      {best && (
        <button type="button" class="button" onClick={() => applyAlternative(best)}>
          {text.use(changeText(best))}
        </button>
      )}
    </div>
  );
}

/** What an alternative changes: a size, or options by name. */
function changeText({ changes }: PlanObject["alternatives"][number]): string {
  const { width, height, ...others } = { ...changes.request };
  const parts = Object.entries({ ...others, ...changes.load }).map(
    ([name, value]) => `${name.replaceAll("_", " ")} ${value}`,
  );
  if (width || height)
    parts.unshift(sizeText({ width: width ?? size.value.width, height: height ?? size.value.height }));
  return parts.join(", ");
}

function SubmitProblem() {
  const error = submitError.value;
  if (!error) return null;
  return (
    <p class="problem" role="alert">
      {error === "away" ? text.away : error.message}
    </p>
  );
}
