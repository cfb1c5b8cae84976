import type { Brush } from "../brush/brush.js";
import type { DepthPainting } from "../brush/painting.js";
import { paneAt } from "./panes.js";
import type { Stage } from "./stage.js";
import type { Point } from "./viewport.js";

/** The targets of pointers, in addition to the stage itself. */
export interface GestureTargets {
  /** The brush and what it paints; null when pointers move the picture instead. */
  brush(): { readonly brush: Brush; readonly painting: DepthPainting } | null;
  /** A depth was picked from the map, 0 to 1. */
  pick(value: number): void;
  /** Whether a comparison shows a slider. */
  hasSlider(): boolean;
  /** The pointer is over the stage; `intent` is what it does, or would do if pressed. */
  hover(point: Point, intent: Drag): void;
  /** The pointer has left the stage. */
  leave(): void;
}

/** The action of a pointer from press to release. */
export type Drag = "paint" | "pick" | "orbit" | "pan" | "slide";

/** Radians for a drag across the stage. */
const turnAcross = 2.6;

/** How close to the slider a press must be to grab it, in CSS pixels: half a finger. */
const reach = 22;

/** Positions older than this, in milliseconds, do not affect the momentum. */
const recent = 90;

/** Turns pointers and the wheel on an element into movements, zooms, turns and strokes. */
export class Gestures {
  readonly #element: HTMLElement;
  readonly #stage: Stage;
  readonly #targets: GestureTargets;
  readonly #pointers = new Map<number, Point>();
  readonly #stop = new AbortController();
  #drag: Drag | null = null;
  #trail: { time: number; x: number; y: number }[] = [];

  constructor(element: HTMLElement, stage: Stage, targets: GestureTargets) {
    this.#element = element;
    this.#stage = stage;
    this.#targets = targets;
    const options = { signal: this.#stop.signal };
    element.addEventListener("pointerdown", this.#pressed, options);
    element.addEventListener("pointermove", this.#moved, options);
    element.addEventListener("pointerup", this.#released, options);
    element.addEventListener("pointercancel", this.#cancelled, options);
    element.addEventListener("pointerleave", () => targets.leave(), options);
    element.addEventListener("dblclick", this.#doubleClicked, options);
    // Not passive, because the page must not scroll or zoom.
    element.addEventListener("wheel", this.#turnedWheel, { ...options, passive: false });
    // Browsers give a swipe momentum even where nothing scrolls; the next tap would only stop that.
    element.addEventListener("touchmove", (event) => event.preventDefault(), { ...options, passive: false });
  }

  /** The action of the pointer now, or if it were pressed here. */
  #intent(point: Point, event: { altKey: boolean; button: number }): Drag {
    if (this.#drag) return this.#drag;
    const stage = this.#stage;
    const slider = this.#targets.hasSlider();
    if (slider && Math.abs(point.x - stage.split * stage.size.width) <= reach) return "slide";
    const { view } = paneAt(stage.panes, point);
    if (event.button === 1) return "pan";
    if (view === "relief") return "orbit";
    if (view === stage.paintedView && this.#targets.brush()) return event.altKey ? "pick" : "paint";
    return slider && stage.viewport.zoom === 1 ? "slide" : "pan";
  }

  dispose(): void {
    this.#stop.abort();
  }

  #point(event: MouseEvent): Point {
    const { left, top } = this.#element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  #pressed = (event: PointerEvent): void => {
    if (event.button > 1 || (event.target as Element).closest("button")) return;
    const point = this.#point(event);
    this.#stage.stop();
    this.#element.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, point);
    // A second finger turns any gesture into a pinch.
    if (this.#pointers.size > 1) {
      this.#abandon();
      return;
    }
    this.#drag = this.#intent(point, event);
    this.#trail = [{ time: event.timeStamp, ...point }];
    // The middle button would scroll the page.
    if (event.button === 1) event.preventDefault();
    if (this.#drag === "slide") this.#slideTo(point);
    if (this.#drag === "pick") this.#pickAt(point);
    if (this.#drag === "paint") this.#beginStroke(point, event);
    this.#targets.hover(point, this.#drag);
  };

  #moved = (event: PointerEvent): void => {
    const point = this.#point(event);
    const before = this.#pointers.get(event.pointerId);
    if (before) {
      if (this.#pointers.size === 2) this.#pinch(event.pointerId, point);
      else if (this.#drag) this.#dragged(before, point, event);
      this.#pointers.set(event.pointerId, point);
    }
    if (this.#pointers.size < 2) this.#targets.hover(point, this.#intent(point, event));
  };

  #dragged(before: Point, point: Point, event: PointerEvent): void {
    const by = { x: point.x - before.x, y: point.y - before.y };
    if (this.#drag === "paint") this.#continueStroke(event);
    if (this.#drag === "pick") this.#pickAt(point);
    if (this.#drag === "slide") this.#slideTo(point);
    if (this.#drag === "pan") this.#stage.pan(by);
    if (this.#drag !== "orbit") return;
    const scale = turnAcross / this.#stage.size.width;
    this.#trail.push({ time: event.timeStamp, ...point });
    this.#stage.turn({ yaw: -by.x * scale, pitch: by.y * scale });
  }

  #released = (event: PointerEvent): void => {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#drag === "paint") this.#targets.brush()?.painting.end();
    if (this.#drag === "orbit") this.#letGo(event.timeStamp);
    this.#drag = null;
    if (event.pointerType !== "mouse") this.#targets.leave();
  };

  #cancelled = (event: PointerEvent): void => {
    this.#pointers.delete(event.pointerId);
    this.#abandon();
    this.#targets.leave();
  };

  /** Ends the pointer's action; an unintended stroke is reverted. */
  #abandon(): void {
    if (this.#drag === "paint") this.#targets.brush()?.painting.abandon();
    this.#drag = null;
  }

  /** Moves and zooms with two fingers. */
  #pinch(id: number, point: Point): void {
    const before = this.#pointers.get(id)!;
    const other = [...this.#pointers].find(([key]) => key !== id)![1];
    const spread = (a: Point): number => Math.max(Math.hypot(a.x - other.x, a.y - other.y), 1);
    const middle = { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 };
    this.#stage.zoom(middle, spread(point) / spread(before));
    if (paneAt(this.#stage.panes, middle).view !== "relief")
      this.#stage.pan({ x: (point.x - before.x) / 2, y: (point.y - before.y) / 2 });
  }

  /** Gives the relief the speed of the last movements; none if the pointer rested before its release. */
  #letGo(now: number): void {
    const last = this.#trail.at(-1)!;
    if (now - last.time > recent || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    // Slow machines report few positions, so the second-to-last counts regardless of its age.
    const first = this.#trail.find(({ time }) => last.time - time <= recent);
    const from = first === last ? this.#trail.at(-2) : first;
    if (!from) return;
    const scale = turnAcross / this.#stage.size.width / Math.max(last.time - from.time, 8);
    this.#stage.spin({ yaw: (from.x - last.x) * scale, pitch: (last.y - from.y) * scale });
  }

  #beginStroke(point: Point, event: PointerEvent): void {
    const target = this.#targets.brush();
    const at = this.#stage.mapPoint(point);
    if (target && at) target.painting.begin(target.brush, { ...at, pressure: pressureOf(event) });
  }

  /** Follows every movement, including those between two frames. */
  #continueStroke(event: PointerEvent): void {
    const painting = this.#targets.brush()?.painting;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length > 0 ? events : [event]) {
      const at = this.#stage.mapPoint(this.#point(part));
      if (at) painting?.move({ ...at, pressure: pressureOf(part) });
    }
  }

  #pickAt(point: Point): void {
    const at = this.#stage.mapPoint(point);
    const painting = this.#targets.brush()?.painting;
    if (at && painting) this.#targets.pick(painting.valueAt(at.x, at.y));
  }

  #slideTo(point: Point): void {
    this.#stage.split = point.x / this.#stage.size.width;
  }

  #doubleClicked = (event: MouseEvent): void => {
    const point = this.#point(event);
    const intent = this.#intent(point, event);
    if (intent === "paint" || intent === "pick" || (event.target as Element).closest("button")) return;
    if (intent === "slide" && this.#stage.viewport.zoom === 1 && this.#targets.hasSlider()) {
      this.#stage.split = 0.5;
      return;
    }
    this.#stage.toggleZoom(point);
  };

  #turnedWheel = (event: WheelEvent): void => {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const [x, y] = [event.deltaX * unit, event.deltaY * unit];
    // Browsers report a pinch on a touchpad as small wheel steps with Ctrl.
    const speed = event.ctrlKey ? 0.01 : 0.002;
    if (event.shiftKey || Math.abs(x) > Math.abs(y)) this.#stage.pan({ x: -(x || y), y: 0 });
    else this.#stage.zoom(this.#point(event), Math.exp(-y * speed));
  };
}

/** The pressure of a pen; mice and most fingers report none or a constant half. */
const pressureOf = (event: PointerEvent): number =>
  event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 1;
