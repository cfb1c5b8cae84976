import { strings } from "../../strings.js";
import { type Brush, sizeLimits } from "../brush/brush.js";
import type { DepthPainting } from "../brush/painting.js";
import { NumberField } from "./number-field.js";

const text = strings.canvas;

interface ToolButtonProps {
  readonly label: string;
  readonly help: string;
  readonly path: string;
  readonly pressed: boolean;
  readonly onPress: () => void;
}

export const ToolButton = ({ label, help, path, pressed, onPress }: ToolButtonProps) => (
  <button type="button" class="brush-tool" aria-pressed={pressed} title={help} onClick={onPress}>
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={path} />
    </svg>
    {label}
  </button>
);

/** Lets pointers move the picture instead of painting. */
export const MoveButton = ({ pressed, onPress }: Pick<ToolButtonProps, "pressed" | "onPress">) => (
  <ToolButton
    label={text.tools.move}
    help={text.toolHelp.move}
    path="M8 2.5v11M2.5 8h11M6.3 4.2 8 2.5l1.7 1.7M6.3 11.8 8 13.5l1.7-1.7M4.2 6.3 2.5 8l1.7 1.7M11.8 6.3 13.5 8l-1.7 1.7"
    pressed={pressed}
    onPress={onPress}
  />
);

/** Buttons for undo and redo. */
export const HistoryButtons = ({ painting }: { readonly painting: DepthPainting }) => (
  <div class="brush-history">
    <HistoryButton
      label={text.undo}
      path="M6 3.5 2.8 6.7 6 9.9M3 6.7h6.2a3.4 3.4 0 0 1 0 6.8H6.5"
      enabled={painting.canUndo}
      onPress={() => painting.undo()}
    />
    <HistoryButton
      label={text.redo}
      path="M10 3.5l3.2 3.2L10 9.9M13 6.7H6.8a3.4 3.4 0 0 0 0 6.8h2.7"
      enabled={painting.canRedo}
      onPress={() => painting.redo()}
    />
  </div>
);

interface HistoryButtonProps {
  readonly label: string;
  readonly path: string;
  readonly enabled: boolean;
  readonly onPress: () => void;
}

const HistoryButton = ({ label, path, enabled, onPress }: HistoryButtonProps) => (
  <button type="button" class="button button-quiet" disabled={!enabled} onClick={onPress}>
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={path} />
    </svg>
    {label}
  </button>
);

interface SettingProps {
  readonly name: string;
  readonly value: number;
  readonly initial: number;
  readonly range: { readonly min: number; readonly max: number };
  readonly unit: string;
  /** Whether the slider moves by factors rather than by steps. */
  readonly curved?: boolean;
  readonly onValue: (value: number) => void;
}

/** A slider with its number as text; a double click restores the default. */
export function Setting({ name, value, initial, range, unit, curved = false, onValue }: SettingProps) {
  const { min, max } = range;
  const place = (number: number): number =>
    curved ? Math.log(number / min) / Math.log(max / min) : (number - min) / (max - min);
  const number = (share: number): number =>
    Math.round(curved ? min * (max / min) ** share : min + share * (max - min));
  return (
    <div class="brush-setting">
      <span class="brush-setting-name">{name}</span>
      <input
        class="slider"
        type="range"
        min={0}
        max={1}
        step={0.005}
        value={place(value)}
        aria-label={name}
        aria-valuetext={`${Math.round(value)} ${unit}`}
        style={{ "--fill": `${place(value)}`, "--mark": `${place(initial)}` }}
        onInput={(event) => onValue(number(event.currentTarget.valueAsNumber))}
        onDblClick={() => onValue(initial)}
      />
      <NumberField
        label={name}
        value={value}
        min={min}
        max={max}
        step={1}
        decimals={0}
        unit={unit}
        onValue={onValue}
      />
    </div>
  );
}

interface SizeAndHardnessProps {
  readonly brush: Brush;
  /** What a double click returns to. */
  readonly initial: Brush;
  readonly onChange: (part: Partial<Brush>) => void;
}

/** The settings that every brush has. */
export function SizeAndHardness({ brush, initial, onChange }: SizeAndHardnessProps) {
  return (
    <>
      <Setting
        name={text.size}
        value={brush.size}
        initial={initial.size}
        range={sizeLimits}
        unit="px"
        curved
        onValue={(size) => onChange({ size })}
      />
      <Setting
        name={text.hardness}
        value={brush.hardness * 100}
        initial={initial.hardness * 100}
        range={{ min: 0, max: 100 }}
        unit="%"
        onValue={(value) => onChange({ hardness: value / 100 })}
      />
    </>
  );
}
