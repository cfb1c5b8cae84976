import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { strings } from "../../strings.js";
import type { Brush } from "../brush/brush.js";
import { type Drag, Gestures } from "../stage/gestures.js";
import { dividerKey, stageKey } from "../stage/keys.js";
import { NoWebGLError, Stage, type StageInputs } from "../stage/stage.js";
import type { Point } from "../stage/viewport.js";
import { BrushCursor } from "./brush-cursor.js";
import { FrameOutline, FrameRoom } from "./frame-overlay.js";

const text = strings.canvas;

export interface DepthStageProps extends StageInputs {
  /** Paints on the depth map, or on the mask while the photo shows one; null lets pointers move the picture. */
  readonly brush: Brush | null;
  /** The brush has changed: its size by a key, or its depth by Alt-click. */
  readonly onBrush: (brush: Brush) => void;
}

/**
 * The canvas: photo, depth, relief and result, alone or compared, with zoom, orbit and brush. It fills its parent, and
 * keeps its position while its content changes.
 */
export function DepthStage(props: DepthStageProps) {
  const root = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef(props);
  latest.current = props;
  const [stage, setStage] = useState<Stage | null>(null);
  const [failed, setFailed] = useState(false);
  const [pointer, setPointer] = useState<{ at: Point; intent: Drag } | null>(null);
  const [keyPoint, setKeyPoint] = useState<Point | null>(null);
  // Grows with every frame, so that what lies over the canvas follows it.
  const [, setFrames] = useState(0);

  useLayoutEffect(() => {
    const created = createStage(canvas.current!);
    setStage(created);
    setFailed(created === null);
    if (!created) return undefined;
    created.onLayout = () => setFrames((count) => count + 1);
    const gestures = new Gestures(root.current!, created, {
      brush: () => painterOf(latest.current),
      pick: (value) => {
        const { brush, onBrush } = latest.current;
        if (brush) onBrush({ ...brush, tool: "set", value });
      },
      hasSlider: () => latest.current.compare?.mode === "slider",
      hover: (at, intent) => {
        setPointer({ at, intent });
        setKeyPoint(null);
      },
      leave: () => setPointer(null),
    });
    return () => {
      gestures.dispose();
      created.dispose();
    };
  }, []);

  const { photo, depth, mask, result, levels, clipping, view, compare, frame } = props;
  useLayoutEffect(
    () => stage?.show({ photo, depth, mask, result, levels, clipping, view, compare, frame }),
    [stage, photo, depth, mask, result, levels, clipping, view, compare, frame],
  );

  const slider = compare?.mode === "slider";
  useEffect(() => {
    // Start at the pointer, where the person is looking.
    if (slider && stage) stage.split = pointer ? pointer.at.x / stage.size.width : 0.5;
  }, [slider, stage]);

  if (failed) return <p class="stage-failure">{text.noWebGL}</p>;
  const painter = painterOf(props);
  const frames = stage?.frames ?? [];
  const keys = {
    painter,
    at: keyPoint,
    setAt: setKeyPoint,
    setBrush: props.onBrush,
  };
  return (
    <div
      ref={root}
      class="stage"
      data-intent={pointer?.intent}
      role="application"
      aria-label={text.stage}
      aria-description={text.stageHelp}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: an application takes keys.
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.target === event.currentTarget && stage && stageKey(event, stage, keys))
          event.preventDefault();
      }}
    >
      {frames.map((frame) => (
        <FrameRoom key={frame.pane.x} {...frame} />
      ))}
      <canvas ref={canvas} class="stage-canvas" />
      {frames.map((frame) => (
        <FrameOutline key={frame.pane.x} {...frame} />
      ))}
      {stage && painter && (
        <Cursor stage={stage} brush={painter.brush} pointer={pointer} keyPoint={keyPoint} />
      )}
      {slider && stage && <Divider stage={stage} />}
      {compare && (
        <>
          <span class="stage-label stage-label-left">{strings.views[compare.with]}</span>
          <span class="stage-label stage-label-right">{strings.views[view]}</span>
        </>
      )}
    </div>
  );
}

/** @returns null if the browser lacks WebGL2 */
function createStage(canvas: HTMLCanvasElement): Stage | null {
  try {
    return new Stage(canvas);
  } catch (error) {
    if (error instanceof NoWebGLError) return null;
    throw error;
  }
}

/** The brush and the map that it paints. */
function painterOf({ brush, depth, mask, view }: DepthStageProps) {
  const painting = view === "photo" ? mask : depth;
  return brush && painting && { brush, painting };
}

interface CursorProps {
  readonly stage: Stage;
  readonly brush: Brush;
  readonly pointer: { readonly at: Point; readonly intent: Drag } | null;
  readonly keyPoint: Point | null;
}

/** The brush where the pointer is, or where keys have moved it. */
function Cursor({ stage, brush, pointer, keyPoint }: CursorProps) {
  const place = stage.mapPlace;
  const field = stage.field;
  if (!place || !field) return null;
  const scale = place.width / field.width;
  const at = keyPoint
    ? { x: place.x + keyPoint.x * scale, y: place.y + keyPoint.y * scale }
    : pointer?.intent === "paint"
      ? pointer.at
      : null;
  return at && <BrushCursor at={at} diameter={brush.size * scale} brush={brush} />;
}

/** The line between two pictures, which a pointer or the arrow keys move. */
function Divider({ stage }: { stage: Stage }) {
  const percent = stage.split * 100;
  return (
    <div
      class="stage-divider"
      role="slider"
      tabIndex={0}
      aria-label={text.divider}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
      style={{ left: `${percent}%` }}
      onKeyDown={(event) => {
        if (dividerKey(event, stage)) event.preventDefault();
      }}
    >
      <span class="stage-divider-grip" />
    </div>
  );
}
