import { useState } from "preact/hooks";

export interface NumberFieldProps {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  /** What an arrow key adds; ten times as much with Shift. */
  readonly step: number;
  readonly decimals: number;
  /** Written after the number. */
  readonly unit?: string;
  readonly title?: string;
  readonly onValue: (value: number) => void;
}

/** A number as text: typed, or changed with the arrow keys. Escape restores the old value. */
export function NumberField({
  label,
  value,
  min,
  max,
  step,
  decimals,
  unit,
  title,
  onValue,
}: NumberFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const shown = written(value, decimals, unit);
  const parsed = typed === null ? value : parseNumber(typed);
  const take = (number: number): void => {
    const factor = 10 ** decimals;
    onValue(Math.min(Math.max(Math.round(number * factor) / factor, min), max));
    setTyped(null);
  };
  /** Reads the field itself, because the latest input may not have been rendered yet. */
  const commit = ({ currentTarget }: { currentTarget: HTMLInputElement }): void => {
    const number = parseNumber(currentTarget.value);
    // An unedited number keeps the decimals that are not shown.
    if (number !== null && currentTarget.value !== shown) take(number);
    else setTyped(null);
  };
  return (
    <input
      class="input number-field"
      type="text"
      inputMode="decimal"
      autocomplete="off"
      spellcheck={false}
      role="spinbutton"
      aria-label={label}
      aria-valuenow={value}
      aria-valuemin={min}
      aria-valuemax={max}
      aria-invalid={parsed === null}
      title={title}
      value={typed ?? shown}
      onFocus={(event) => event.currentTarget.select()}
      onInput={(event) => setTyped(event.currentTarget.value)}
      onBlur={commit}
      onKeyDown={(event) => {
        const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
        if (event.key === "Enter") commit(event);
        else if (event.key === "Escape") setTyped(null);
        else if (direction) take((parsed ?? value) + direction * step * (event.shiftKey ? 10 : 1));
        else return;
        event.preventDefault();
        event.stopPropagation();
      }}
    />
  );
}

/** Formats a number with at most the given decimals, and its unit. */
export const written = (value: number, decimals: number, unit?: string): string =>
  `${Number(value.toFixed(decimals))}${unit ? ` ${unit}` : ""}`;

/** The number at the start of a text, with a decimal point or comma; null if there is none. */
function parseNumber(text: string): number | null {
  const match = /^\s*([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+))/.exec(text);
  return match ? Number(match[1]!.replace(",", ".")) : null;
}
