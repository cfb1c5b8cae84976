import { sizeText } from "../controls/format.js";
import { requestFields, usualArea } from "../state/capabilities.js";
import { draft, edit, mainPicture } from "../state/draft.js";
import { fieldNamed } from "../state/fields.js";
import { isFramed, size } from "../state/generation.js";
import { showDraft } from "../state/shown.js";
import { chosenSize, grid, proportionOf, ratios, type SizeChoice, sizeOf, toGrid } from "../state/size.js";
import { strings } from "../strings.js";

const text = strings.size;

/** The size: like the picture, with a fixed aspect ratio, or as numbers. */
export function SizeField() {
  const { size: choice, fit } = draft.value;
  const chosen = choice.mode === "ratio" ? choice.ratio : choice.mode;
  return (
    <div class="field">
      <div class="row-field">
        <label class="field-label" for="size">
          {strings.look.size}
        </label>
        <select
          id="size"
          class="input number"
          value={chosen}
          onChange={({ currentTarget }) => {
            edit({ size: choiceOf(currentTarget.value) });
            if (isFramed.value) showDraft();
          }}
        >
          <option value="auto">
            {sizeText(chosenSize({ mode: "auto" }, mainPicture(draft.value), usualArea.value))} {text.auto}
          </option>
          {ratios.map((ratio) => (
            <option key={ratio} value={ratio}>
              {sizeText(sizeOf(proportionOf(ratio), usualArea.value))} ({ratio})
            </option>
          ))}
          <option value="custom">{text.custom}</option>
        </select>
      </div>
      {choice.mode === "custom" && (
        <div class="size-numbers">
          <Side name="width" value={choice.width} onValue={(width) => edit({ size: { ...choice, width } })} />
          <span class="quiet" aria-hidden="true">
            ×
          </span>
          <Side
            name="height"
            value={choice.height}
            onValue={(height) => edit({ size: { ...choice, height } })}
          />
        </div>
      )}
      {isFramed.value && (
        <>
          <div class="row-field">
            <span class="field-label">{text.edges}</span>
            <fieldset class="segments" aria-label={text.fit}>
              {(["crop", "pad"] as const).map((name) => (
                <button
                  key={name}
                  type="button"
                  aria-pressed={fit === name}
                  onClick={() => edit({ fit: name })}
                >
                  {text[name]}
                </button>
              ))}
            </fieldset>
          </div>
          <p class="quiet small">{text.preview(fit)}</p>
        </>
      )}
    </div>
  );
}

interface SideProps {
  readonly name: "width" | "height";
  readonly value: number;
  readonly onValue: (value: number) => void;
}

/** One side in pixels, within the server's limits. */
function Side({ name, value, onValue }: SideProps) {
  const kind = fieldNamed(requestFields.value, name)?.kind;
  if (kind?.type !== "number") return null;
  const { min, max } = kind;
  return (
    <input
      class="input number"
      type="number"
      aria-label={text[name]}
      min={min}
      max={max}
      step={grid}
      value={value}
      onChange={({ currentTarget }) => {
        const typed = currentTarget.valueAsNumber;
        const taken = typed > 0 ? Math.min(max, Math.max(min, toGrid(typed))) : value;
        onValue(taken);
        currentTarget.value = String(taken);
      }}
    />
  );
}

function choiceOf(value: string): SizeChoice {
  if (value === "custom") return { mode: "custom", ...size.value };
  const ratio = ratios.find((name) => name === value);
  return ratio ? { mode: "ratio", ratio } : { mode: "auto" };
}
