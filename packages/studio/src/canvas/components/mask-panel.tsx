import { useRef } from "preact/hooks";
import { strings } from "../../strings.js";
import { type Brush, defaultBrush } from "../brush/brush.js";
import type { DepthPainting } from "../brush/painting.js";
import { HistoryButtons, MoveButton, SizeAndHardness, ToolButton } from "./brush-controls.js";
import { toolPaths } from "./brush-cursor.js";
import { useRevision } from "./use-revision.js";

const text = strings.canvas;

export interface MaskPanelProps {
  readonly mask: DepthPainting;
  /** Null when pointers move the picture instead. */
  readonly brush: Brush | null;
  readonly onBrush: (brush: Brush | null) => void;
}

/** A brush to begin with on a mask: it frees what may change, with a soft rim that hides the seam. */
export const maskBrush = (size: { width: number; height: number }): Brush => ({
  ...defaultBrush(size),
  tool: "set",
  hardness: 0.7,
  strength: 1,
  value: 1,
});

/** The brushes of a mask: one that frees parts of the photo, and one that keeps them. */
export function MaskPanel({ mask, brush, onBrush }: MaskPanelProps) {
  useRevision(mask);
  const initial = maskBrush(mask.field);
  const last = useRef(initial);
  if (brush) last.current = brush;
  const change = (part: Partial<Brush>): void => onBrush({ ...last.current, ...part });
  return (
    <fieldset class="brush-panel" aria-label={text.maskBrushes}>
      <div class="brush-tools">
        <MoveButton pressed={brush === null} onPress={() => onBrush(null)} />
        <ToolButton
          label={text.maskTools.free}
          help={text.maskToolHelp.free}
          path={toolPaths.set}
          pressed={brush?.value === 1}
          onPress={() => change({ value: 1 })}
        />
        <ToolButton
          label={text.maskTools.keep}
          help={text.maskToolHelp.keep}
          path="M3.5 8h9"
          pressed={brush?.value === 0}
          onPress={() => change({ value: 0 })}
        />
      </div>
      <HistoryButtons painting={mask} />
      {brush && (
        <div class="brush-settings">
          <SizeAndHardness brush={brush} initial={initial} onChange={change} />
        </div>
      )}
    </fieldset>
  );
}
