import { attempt, failure } from "../state/failures.js";
import { undoable } from "../state/history.js";
import { isTaking, remembered, takePicture, takingError } from "../state/pictures.js";
import { reuseParameters } from "../state/reuse.js";
import { strings } from "../strings.js";

/** Notices over the page. */
export const Notices = () => (
  <div class="notices">
    {isTaking.value && (
      <div class="notice" role="status">
        <span class="spinner" />
        <p>{strings.taking.busy}</p>
      </div>
    )}
    <TakingProblem />
    <Failure />
    <Remembered />
    {undoable.value && (
      <div class="notice" role="status">
        <p>{strings.history.deleted}</p>
        <button type="button" class="button" onClick={undoable.value.undo}>
          {strings.history.undo}
        </button>
      </div>
    )}
  </div>
);

function Failure() {
  const why = failure.value;
  if (!why) return null;
  return (
    <div class="notice notice-bad" role="alert">
      <p>{why === "away" ? strings.failures.away : why.message}</p>
      <button
        type="button"
        class="button button-quiet"
        onClick={() => {
          failure.value = null;
        }}
      >
        {strings.failures.close}
      </button>
    </div>
  );
}

function TakingProblem() {
  const error = takingError.value;
  if (!error) return null;
  return (
    <div class="notice notice-bad" role="alert">
      <p>{typeof error === "string" ? strings.taking[error] : error.message}</p>
      <button
        type="button"
        class="button button-quiet"
        onClick={() => {
          takingError.value = null;
        }}
      >
        {strings.failures.close}
      </button>
    </div>
  );
}

/** Offers to use the settings of a picture made by mflux-depth, or the picture itself. */
function Remembered() {
  const found = remembered.value;
  if (!found) return null;
  return (
    <section class="notice" aria-label={strings.remembered.title}>
      <p>
        <strong>{strings.remembered.title}</strong>
        <span class="quiet remembered-prompt">{String(found.parameters.prompt)}</span>
      </p>
      <button
        type="button"
        class="button button-primary"
        onClick={() => {
          remembered.value = null;
          attempt(reuseParameters(found.parameters));
        }}
      >
        {strings.remembered.settings}
      </button>
      <button type="button" class="button" onClick={() => void takePicture(found.file)}>
        {strings.remembered.picture}
      </button>
    </section>
  );
}
