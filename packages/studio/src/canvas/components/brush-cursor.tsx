import type { Brush, BrushTool } from "../brush/brush.js";
import type { Point } from "../stage/viewport.js";

/** Icons of the brushes, as paths in a square of 16. */
export const toolPaths: Readonly<Record<BrushTool, string>> = {
  raise: "M3.5 10.5 8 5.5l4.5 5",
  lower: "M3.5 5.5 8 10.5l4.5-5",
  smooth: "M2.5 9.5c1.8-4 3.7-4 5.5-1s3.7 3 5.5-1",
  set: "M8 3.5v9M3.5 8h9",
};

/** From this diameter on, the icon is drawn inside the cursor, otherwise below it. */
const roomInside = 44;

/** The brush over the map: a ring of its size, a thin ring where its full effect ends, and its icon. */
export function BrushCursor({ at, diameter, brush }: { at: Point; diameter: number; brush: Brush }) {
  const inside = diameter >= roomInside;
  const core = brush.hardness * diameter;
  return (
    <div
      class="brush-cursor"
      aria-hidden="true"
      style={{ transform: `translate(${at.x}px, ${at.y}px)`, "--diameter": `${diameter}px` }}
    >
      <span class="brush-cursor-rim" />
      {core > 8 && brush.hardness < 0.97 && (
        <span class="brush-cursor-core" style={{ "--core": `${core}px` }} />
      )}
      {/* biome-ignore lint/a11y/noSvgWithoutTitle: hidden together with the cursor. */}
      <svg
        class={inside ? "brush-cursor-tool" : "brush-cursor-tool brush-cursor-tool-below"}
        viewBox="0 0 16 16"
      >
        <path class="brush-cursor-shade" d={toolPaths[brush.tool]} />
        <path d={toolPaths[brush.tool]} />
      </svg>
    </div>
  );
}
