import { useRef } from "preact/hooks";
import { strings } from "../../strings.js";
import { type Brush, type BrushTool, defaultBrush } from "../brush/brush.js";
import type { DepthPainting } from "../brush/painting.js";
import { HistoryButtons, MoveButton, Setting, SizeAndHardness, ToolButton } from "./brush-controls.js";
import { toolPaths } from "./brush-cursor.js";
import { useRevision } from "./use-revision.js";

const text = strings.canvas;

export interface BrushPanelProps {
  readonly depth: DepthPainting;
  /** Null when pointers move the picture instead. */
  readonly brush: Brush | null;
  readonly onBrush: (brush: Brush | null) => void;
}

const tools: readonly BrushTool[] = ["raise", "lower", "smooth", "set"];

/** The brushes with their size, hardness and strength, and the strokes to take back. */
export function BrushPanel({ depth, brush, onBrush }: BrushPanelProps) {
  useRevision(depth);
  const initial = defaultBrush(depth.field);
  // Remembers the brush while pointers move the picture.
  const last = useRef(initial);
  if (brush) last.current = brush;
  const change = (part: Partial<Brush>): void => onBrush({ ...last.current, ...part });
  return (
    <fieldset class="brush-panel" aria-label={text.brushes}>
      <div class="brush-tools">
        <MoveButton pressed={brush === null} onPress={() => onBrush(null)} />
        {tools.map((tool) => (
          <ToolButton
            key={tool}
            label={text.tools[tool]}
            help={text.toolHelp[tool]}
            path={toolPaths[tool]}
            pressed={brush?.tool === tool}
            onPress={() => change({ tool })}
          />
        ))}
      </div>
      <HistoryButtons painting={depth} />
      {brush && (
        <div class="brush-settings">
          {brush.tool === "set" && (
            <Setting
              name={text.depthValue}
              value={brush.value * 100}
              initial={initial.value * 100}
              range={{ min: 0, max: 100 }}
              unit="%"
              onValue={(value) => change({ value: value / 100 })}
            />
          )}
          <SizeAndHardness brush={brush} initial={initial} onChange={change} />
          <Setting
            name={text.strength}
            value={brush.strength * 100}
            initial={initial.strength * 100}
            range={{ min: 1, max: 100 }}
            unit="%"
            onValue={(value) => change({ strength: value / 100 })}
          />
        </div>
      )}
    </fieldset>
  );
}
