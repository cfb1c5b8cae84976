import { useLayoutEffect, useRef } from "preact/hooks";
import { maskBrush as firstBrush, MaskPanel, maskSize } from "../canvas/index.js";
import { FileButton } from "../controls/file-button.js";
import { draft, edit, type Picture } from "../state/draft.js";
import { attempt } from "../state/failures.js";
import { clearMask, invertMask, isMaskMissing, mask, takeMask } from "../state/mask.js";
import { showDraft } from "../state/shown.js";
import { strings } from "../strings.js";
import { maskBrush } from "./brush-state.js";

const text = strings.mask;

/** Which part of the photo may change. */
export function MaskField({ photo }: { readonly photo: Picture }) {
  const painting = mask.value;
  const field = useRef<HTMLDivElement>(null);
  /** Whether the person has just switched it on, and wants to see its tools. */
  const asked = useRef(false);
  useLayoutEffect(() => {
    if (painting && asked.current) reveal(field.current!);
    asked.current = false;
  }, [painting !== null]);
  return (
    <div ref={field} class="field mask-field">
      <label class="switch">
        <span class="field-label">{text.title}</span>
        <input
          type="checkbox"
          aria-describedby="mask-text"
          checked={draft.value.masked}
          onChange={({ currentTarget: { checked } }) => {
            asked.current = checked;
            edit({ masked: checked });
            maskBrush.value = checked ? firstBrush(maskSize(photo)) : null;
            showDraft(checked ? "photo" : "depth");
          }}
        />
      </label>
      {painting && (
        <>
          <p id="mask-text" class={isMaskMissing.value ? "problem" : "quiet small"}>
            {isMaskMissing.value ? text.missing : text.hint}
          </p>
          <MaskPanel
            mask={painting}
            brush={maskBrush.value}
            onBrush={(next) => {
              maskBrush.value = next;
              showDraft("photo");
            }}
          />
          <div class="mask-actions">
            <button type="button" class="button button-quiet" onClick={() => attempt(invertMask())}>
              {text.invert}
            </button>
            <button type="button" class="button button-quiet" onClick={() => attempt(clearMask())}>
              {text.clear}
            </button>
            <FileButton
              class="button button-quiet"
              onFile={(file) => {
                showDraft("photo");
                attempt(takeMask(file));
              }}
            >
              {text.file}
            </FileButton>
          </div>
        </>
      )}
    </div>
  );
}

/** Scrolls a panel until one of its fields is in view: all of it, or its beginning if the panel is too low. */
function reveal(field: HTMLElement): void {
  const panel = field.closest(".panel");
  const fits = panel !== null && field.offsetHeight <= panel.clientHeight;
  field.scrollIntoView({ block: fits ? "nearest" : "start" });
}
