import type { ComponentChildren } from "preact";
import type { Rectangle } from "../field/rectangle.js";
import type { FramePlace } from "../stage/stage.js";

/** The area that padding adds around the picture. It lies under the canvas, which is transparent here. */
export const FrameRoom = ({ pane, target }: FramePlace) => (
  <Clip from={pane.from} to={pane.to}>
    <div class="stage-frame-room" style={place(target, pane.from)} />
  </Clip>
);

/** What the next image will cover: an outline, and the rest of the picture dimmed. */
export const FrameOutline = ({ pane, target, picture }: FramePlace) => (
  <Clip from={pane.from} to={pane.to}>
    <div class="stage-frame-picture" style={place(picture, pane.from)}>
      <div class="stage-frame-kept" style={place(target, picture.x, picture.y)} />
    </div>
    <div class="stage-frame-target" style={place(target, pane.from)} />
  </Clip>
);

interface ClipProps {
  readonly from: number;
  readonly to: number;
  readonly children: ComponentChildren;
}

/** The part of the stage that a pane shows. */
const Clip = ({ from, to, children }: ClipProps) => (
  <div
    class="stage-frame"
    aria-hidden="true"
    style={{ left: `${from}px`, width: `${Math.max(to - from, 0)}px` }}
  >
    {children}
  </div>
);

const place = ({ x, y, width, height }: Rectangle, left: number, top = 0) => ({
  left: `${x - left}px`,
  top: `${y - top}px`,
  width: `${width}px`,
  height: `${height}px`,
});
