import type { Rectangle } from "../field/rectangle.js";
import type { Pane } from "../stage/panes.js";

/** Shows what the next image will cover: the rest of the photo is dimmed, and added room has an outline. */
export function FrameOverlay({ pane, place }: { pane: Pane; place: Rectangle }) {
  return (
    <div
      class="stage-frame"
      aria-hidden="true"
      style={{ left: `${pane.from}px`, width: `${Math.max(pane.to - pane.from, 0)}px` }}
    >
      <div
        class="stage-frame-target"
        style={{
          left: `${place.x - pane.from}px`,
          top: `${place.y}px`,
          width: `${place.width}px`,
          height: `${place.height}px`,
        }}
      />
    </div>
  );
}
