import { correctKind, taken } from "../state/pictures.js";
import { strings } from "../strings.js";

const text = strings.taking;

/** Says what the page took the last file for, and lets the person correct it. */
export function TakenNotice() {
  const last = taken.value;
  if (!last) return null;
  const isPhoto = last.kind === "photo";
  return (
    <div class="notice" role="status">
      <p>{isPhoto ? text.tookPhoto : text.tookDepth}</p>
      <button type="button" class="button button-quiet" onClick={correctKind}>
        {isPhoto ? text.isDepth : text.isPhoto}
      </button>
      {last.uncertain && (
        <button
          type="button"
          class="button"
          onClick={() => {
            taken.value = null;
          }}
        >
          {text.fine}
        </button>
      )}
    </div>
  );
}
