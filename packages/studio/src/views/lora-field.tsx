import { Slider } from "../controls/slider.js";
import { chosenLoras, offeredLoras, setLora } from "../state/loras.js";
import { strings } from "../strings.js";

const text = strings.loras;

/** The scales that a slider covers, and those that the server accepts. */
const scales = { range: { min: 0, max: 2 }, limits: { min: -100, max: 100 } };

/** The LoRAs that the server offers, with switches and scales. */
export function LoraField() {
  const chosen = new Map(chosenLoras.value.map(({ source, scale }) => [source, scale]));
  // A chosen LoRA that the server no longer offers can still be removed.
  const all = [...new Set([...offeredLoras.value, ...chosen.keys()])];
  return (
    <fieldset class="field loras" aria-describedby="loras-text">
      <legend class="field-label">{text.title}</legend>
      {all.map((source) => {
        const scale = chosen.get(source);
        return (
          <div key={source} class="lora">
            <label class="switch">
              <span class="lora-name">{source}</span>
              <input
                type="checkbox"
                checked={scale !== undefined}
                onChange={({ currentTarget }) => setLora(source, currentTarget.checked ? 1 : null)}
              />
            </label>
            {scale !== undefined && (
              <Slider
                id={`lora-${source}`}
                label={text.scale(source)}
                hint={text.scaleHint}
                value={scale}
                fallback={1}
                range={scales.range}
                limits={scales.limits}
                step={0.05}
                onValue={(value) => setLora(source, value)}
                onReset={() => setLora(source, 1)}
              />
            )}
          </div>
        );
      })}
      <p id="loras-text" class="quiet small">
        {text.hint}
      </p>
    </fieldset>
  );
}
