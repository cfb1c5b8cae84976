import { correctKind, taken } from "../state/pictures.js";
import { strings } from "../strings.js";

const text = strings.taking;

/** Says how the last file was classified, and lets the person correct it. */
export function TakenNotice() {
  const last = taken.value;
  if (!last) return null;
  const [words, other] =
    last.kind === "photo" ? [text.tookPhoto, text.isDepth] : [text.tookDepth, text.isPhoto];
  return (
    <div class={last.uncertain ? "notice" : "taken"} role="status">
      <p>
        {words}{" "}
        <button type="button" class="link" onClick={correctKind}>
          {other}
        </button>
      </p>
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
