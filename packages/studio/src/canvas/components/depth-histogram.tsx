import { useMemo, useRef, useState } from "preact/hooks";
import { strings } from "../../strings.js";
import type { DepthPainting } from "../brush/painting.js";
import {
  allowed,
  curvePoints,
  dragged,
  handlePositions,
  type LevelHandle,
  resetLevel,
  stepped,
} from "../field/level-handles.js";
import { gammaLimits, grey, isNeutral, type Levels, neutralLevels, type ToneCurve } from "../field/levels.js";
import { bars, toneCurve } from "../field/statistics.js";
import { NumberField, written } from "./number-field.js";
import { useRevision } from "./use-revision.js";

const text = strings.canvas;

export interface DepthHistogramProps {
  readonly depth: DepthPainting;
  readonly levels: Levels;
  readonly onLevels: (levels: Levels) => void;
  /** Dragging of a level has begun or ended: the clipped values are shown meanwhile. */
  readonly onDragging: (active: boolean) => void;
}

const barCount = 128;

/** The histogram of the depth with the levels as its handles, as text, and as the greys that they make. */
export function DepthHistogram({ depth, levels, onLevels, onDragging }: DepthHistogramProps) {
  useRevision(depth);
  const track = useRef<HTMLDivElement>(null);
  const statistics = depth.statistics;
  const area = useMemo(() => areaPath(bars(statistics, barCount)), [statistics]);
  const curve = toneCurve(statistics, levels);
  const positions = handlePositions(statistics, levels);
  const [held, setHeld] = useState<LevelHandle | null>(null);
  const hold = (handle: LevelHandle | null): void => {
    setHeld(handle);
    onDragging(handle !== null && handle !== "gamma");
  };
  const change = (next: Levels): void => {
    if (allowed(next)) onLevels(next);
  };
  const handleProps = { levels, positions, track, held, hold };
  return (
    <fieldset class="histogram" aria-label={text.histogram}>
      <div class="histogram-plot" ref={track}>
        <svg class="histogram-chart" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
          <path class="histogram-area" d={area} />
          <rect class="histogram-cut" x="0" y="0" width={positions.far} height="1" />
          <rect class="histogram-cut" x={positions.near} y="0" width={1 - positions.near} height="1" />
          {curve && <path class="histogram-curve" d={curvePath(curve)} />}
        </svg>
        <Greys curve={curve} />
        {(["far", "gamma", "near"] as const).map((handle) => (
          <Handle
            key={handle}
            {...handleProps}
            handle={handle}
            onPosition={(position) => change(dragged(statistics, levels, handle, position))}
            onLevels={change}
          />
        ))}
      </div>
      <div class="histogram-numbers">
        {(["far", "gamma", "near"] as const).map((handle) => (
          <div key={handle}>
            <span class="histogram-name">{text[handle]}</span>
            <NumberField
              label={text[handle]}
              title={text[`${handle}Help`]}
              value={levels[handle]}
              min={handle === "gamma" ? gammaLimits.min : 0}
              max={100}
              step={handle === "gamma" ? 0.05 : 0.5}
              decimals={2}
              {...(handle === "gamma" ? {} : { unit: "%" })}
              onValue={(value) => change({ ...levels, [handle]: value })}
            />
          </div>
        ))}
      </div>
      {!curve && (
        <p class="histogram-warning" role="status">
          {text.levelsMeet}
        </p>
      )}
      <div class="histogram-foot">
        <label class="switch histogram-invert">
          {text.invert}
          <input
            type="checkbox"
            checked={levels.invert}
            onChange={(event) => change({ ...levels, invert: event.currentTarget.checked })}
          />
        </label>
        <button
          type="button"
          class="button button-quiet"
          disabled={isNeutral(levels)}
          onClick={() => change(neutralLevels)}
        >
          {text.reset}
        </button>
      </div>
    </fieldset>
  );
}

interface HandleProps {
  readonly handle: LevelHandle;
  readonly levels: Levels;
  readonly positions: Readonly<Record<LevelHandle, number>>;
  readonly track: { readonly current: HTMLDivElement | null };
  readonly held: LevelHandle | null;
  readonly hold: (handle: LevelHandle | null) => void;
  /** Dragged to a place over the histogram, 0 to 1. */
  readonly onPosition: (position: number) => void;
  readonly onLevels: (levels: Levels) => void;
}

/** One handle: dragged, moved with the arrow keys, reset by a double click. */
function Handle({ handle, levels, positions, track, held, hold, onPosition, onLevels }: HandleProps) {
  /** The offset from the pointer to the middle of the handle, which keeps it from jumping when grabbed. */
  const grip = useRef(0);
  const at = (event: PointerEvent): number => {
    const { left, width } = track.current!.getBoundingClientRect();
    return (event.clientX - left) / width;
  };
  const gamma = handle === "gamma";
  return (
    <div
      class={`level-handle level-handle-${handle}`}
      role="slider"
      tabIndex={0}
      aria-label={text[handle]}
      aria-valuemin={gamma ? gammaLimits.min : 0}
      aria-valuemax={100}
      aria-valuenow={levels[handle]}
      aria-valuetext={written(levels[handle], 2, gamma ? undefined : "%")}
      aria-orientation="horizontal"
      title={text[`${handle}Help`]}
      data-held={held === handle}
      style={{ left: `${positions[handle] * 100}%` }}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        grip.current = positions[handle] - at(event);
        hold(handle);
      }}
      onPointerMove={(event) => {
        if (held === handle) onPosition(at(event) + grip.current);
      }}
      onPointerUp={() => hold(null)}
      onPointerCancel={() => hold(null)}
      onDblClick={() => onLevels(resetLevel(levels, handle))}
      onKeyDown={(event) => {
        const steps = stepsOf(event);
        if (steps === null) return;
        event.preventDefault();
        hold(handle);
        onLevels(
          event.key === "Delete" || event.key === "Backspace"
            ? resetLevel(levels, handle)
            : stepped(levels, handle, gamma ? -steps : steps),
        );
      }}
      onKeyUp={() => hold(null)}
      onBlur={() => {
        // Another handle may have been taken already.
        if (held === handle) hold(null);
      }}
    >
      <svg class="level-handle-mark" viewBox="0 0 14 16" aria-hidden="true">
        <path d="M7 1l5.5 6v7.5h-11V7z" />
      </svg>
    </div>
  );
}

/** Steps that a key asks for; 0 for keys that reset, null for others. */
function stepsOf({ key, shiftKey }: KeyboardEvent): number | null {
  const steps: Readonly<Record<string, number>> = {
    ArrowRight: 1,
    ArrowUp: 1,
    ArrowLeft: -1,
    ArrowDown: -1,
    PageUp: 20,
    PageDown: -20,
    Delete: 0,
    Backspace: 0,
  };
  const count = steps[key];
  return count === undefined ? null : count * (shiftKey ? 10 : 1);
}

/** The greys that each value becomes, as a strip under the histogram. */
function Greys({ curve }: { curve: ToneCurve | null }) {
  const stops = 24;
  const colours = Array.from({ length: stops + 1 }, (_, i) => {
    const level = Math.round(255 * (curve ? grey(i / stops, curve) : 0.5));
    return `rgb(${level} ${level} ${level})`;
  });
  return <div class="histogram-greys" style={{ "--greys": colours.join(", ") }} />;
}

/** The area under the bars, in a square of 1 from the upper left corner. */
function areaPath(heights: readonly number[]): string {
  const points = heights.map((height, i) => `L${(i + 0.5) / heights.length} ${1 - height * 0.94}`);
  const [first, last] = [heights[0]!, heights[heights.length - 1]!];
  return `M0 1L0 ${1 - first * 0.94}${points.join("")}L1 ${1 - last * 0.94}L1 1Z`;
}

const curvePath = (curve: ToneCurve): string =>
  curvePoints(curve, 48, (value) => grey(value, curve))
    .map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x} ${1 - y}`)
    .join("");
