import { type Brush, resized } from "../brush/brush.js";
import type { DepthPainting } from "../brush/painting.js";
import type { Stage } from "./stage.js";
import type { Point } from "./viewport.js";

/** The targets of keys, in addition to the stage. */
export interface KeyTargets {
  /** The brush and what it paints; null without one. */
  readonly painter: { readonly brush: Brush; readonly painting: DepthPainting } | null;
  /** Where keys have moved the brush, in pixels of the map; null if they have not. */
  readonly at: Point | null;
  readonly setAt: (at: Point) => void;
  readonly setBrush: (brush: Brush) => void;
}

type Key = Pick<KeyboardEvent, "key" | "code" | "shiftKey" | "altKey" | "ctrlKey" | "metaKey">;

const directions: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

/** One press of an arrow: CSS pixels of movement, and radians of the relief. */
const steps = { pixels: 40, radians: 0.08 };

/** How much further Shift goes. */
const coarse = 4;

const zoomStep = 1.25;

/** Handles a key of the stage. @returns whether the key was handled */
export function stageKey(key: Key, stage: Stage, targets: KeyTargets): boolean {
  if (key.ctrlKey || key.metaKey) return undoKey(key, targets);
  const direction = directions[key.key];
  if (direction) return arrowKey(direction, key, stage, targets);
  const middle = { x: stage.size.width / 2, y: stage.size.height / 2 };
  switch (key.key) {
    case "+":
    case "=":
      stage.zoom(middle, zoomStep);
      return true;
    case "-":
      stage.zoom(middle, 1 / zoomStep);
      return true;
    case "0":
    case "Home":
      stage.resetViewport();
      stage.resetOrbit();
      return true;
    default:
      return brushKey(key, targets);
  }
}

function undoKey({ key, shiftKey, altKey }: Key, { painter }: KeyTargets): boolean {
  const letter = key.toLowerCase();
  if (!painter || altKey || (letter !== "z" && letter !== "y")) return false;
  if (letter === "y" || shiftKey) painter.painting.redo();
  else painter.painting.undo();
  return true;
}

function arrowKey(direction: Point, { shiftKey, altKey }: Key, stage: Stage, targets: KeyTargets): boolean {
  const scale = shiftKey ? coarse : 1;
  const { painter } = targets;
  if (painter && stage.mapPlace && !altKey) {
    const { width, height } = painter.painting.field;
    const step = Math.max(1, painter.brush.size / 8) * scale;
    const from = targets.at ?? { x: width / 2, y: height / 2 };
    targets.setAt({
      x: Math.min(Math.max(from.x + direction.x * step, 0), width - 1),
      y: Math.min(Math.max(from.y + direction.y * step, 0), height - 1),
    });
  } else if (stage.panes.some(({ view }) => view === "relief")) {
    const angle = steps.radians * scale;
    stage.turn({ yaw: direction.x * angle, pitch: -direction.y * angle });
  } else {
    const way = steps.pixels * scale;
    stage.pan({ x: -direction.x * way, y: -direction.y * way });
  }
  return true;
}

/** Handles a brush's keys: a dab at the position set by keys, and the brush's size. */
function brushKey({ key }: Key, { painter, at, setBrush }: KeyTargets): boolean {
  if (!painter) return false;
  if (key === "[" || key === "]") {
    setBrush(resized(painter.brush, key === "]" ? 1 : -1));
    return true;
  }
  if (key !== "Enter" || !at) return false;
  painter.painting.begin(painter.brush, { ...at, pressure: 1 });
  painter.painting.end();
  return true;
}

/** Handles a key of the slider between two pictures. @returns whether the key was handled */
export function dividerKey({ key, shiftKey }: Key, stage: Stage): boolean {
  const step = shiftKey ? 0.1 : 0.02;
  const moves: Readonly<Record<string, number>> = {
    ArrowLeft: stage.split - step,
    ArrowDown: stage.split - step,
    ArrowRight: stage.split + step,
    ArrowUp: stage.split + step,
    Home: 0,
    End: 1,
  };
  const to = moves[key];
  if (to === undefined) return false;
  stage.split = to;
  return true;
}
