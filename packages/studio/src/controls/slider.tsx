import { strings } from "../strings.js";

interface SliderProps {
  readonly id: string;
  readonly label: string;
  /** The technical name and what it does. */
  readonly hint?: string;
  readonly value: number;
  /** The value that a double click restores; it is marked on the track. */
  readonly fallback: number;
  /** The range of the slider, and the limits of typed values. */
  readonly range: { readonly min: number; readonly max: number };
  readonly limits?: { readonly min: number; readonly max: number };
  readonly step: number;
  /** Shown after the number. */
  readonly unit?: string;
  readonly onValue: (value: number) => void;
  readonly onReset: () => void;
}

/** Arrow keys with Shift move by this many steps. */
const coarse = 10;

/** A number with a slider and a field to type it: arrow keys, Shift for coarse steps, double click for the default. */
export function Slider(props: SliderProps) {
  const { id, label, hint, value, fallback, range, limits = range, step, unit, onValue, onReset } = props;
  const clamp = (number: number, { min, max }: { min: number; max: number }): number =>
    Math.min(max, Math.max(min, number));
  /** Rounds a typed number if the steps are whole. */
  const taken = (number: number): number =>
    clamp(Number.isInteger(step) ? Math.round(number) : number, limits);
  const shareOf = (number: number): number =>
    (clamp(number, range) - range.min) / (range.max - range.min || 1);
  return (
    <div class="field slider-field">
      <label class="field-label" for={id} title={hint}>
        {label}
      </label>
      <span class="slider-number">
        <input
          class="input number"
          type="number"
          aria-label={label}
          value={value}
          min={limits.min}
          max={limits.max}
          step={step}
          onChange={({ currentTarget }) => {
            const typed = currentTarget.valueAsNumber;
            if (Number.isNaN(typed)) onReset();
            else onValue(taken(typed));
            currentTarget.value = String(Number.isNaN(typed) ? fallback : taken(typed));
          }}
        />
        {unit && <span class="quiet">{unit}</span>}
      </span>
      <input
        id={id}
        class="slider"
        type="range"
        title={strings.look.resetHint}
        value={value}
        min={range.min}
        max={range.max}
        step={step}
        style={{ "--fill": shareOf(value), "--mark": shareOf(fallback) }}
        onInput={({ currentTarget }) => onValue(currentTarget.valueAsNumber)}
        onDblClick={onReset}
        onKeyDown={(event) => {
          const direction = directionOf(event.key);
          if (!event.shiftKey || direction === 0) return;
          event.preventDefault();
          onValue(clamp(Number((value + direction * coarse * step).toFixed(6)), range));
        }}
      />
    </div>
  );
}

function directionOf(key: string): number {
  if (key === "ArrowRight" || key === "ArrowUp") return 1;
  return key === "ArrowLeft" || key === "ArrowDown" ? -1 : 0;
}
