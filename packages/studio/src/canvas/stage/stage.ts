import type { DepthPainting } from "../brush/painting.js";
import type { DepthField } from "../field/depth-field.js";
import { type Levels, neutralLevels, type ToneCurve } from "../field/levels.js";
import { type Rectangle, type Size, union } from "../field/rectangle.js";
import { toneCurve } from "../field/statistics.js";
import type { Frame } from "../pictures/frame.js";
import { coasted, type Orbit, orbited, restingOrbit, type Spin } from "./orbit.js";
import { type Pane, paneAt, panesOf } from "./panes.js";
import { Renderer } from "./renderer.js";
import type { Comparison, View } from "./view.js";
import {
  contained,
  type Point,
  panned,
  partPlaced,
  pixelZoom,
  rebased,
  type Viewport,
  wholePicture,
  zoomedAt,
} from "./viewport.js";
import { type World, worldOf } from "./world.js";

/** What the stage shows. */
export interface StageInputs {
  readonly photo: ImageBitmap | null;
  readonly depth: DepthPainting | null;
  /** The part of the photo that may change; the rest is dimmed. */
  readonly mask: DepthPainting | null;
  readonly result: ImageBitmap | null;
  readonly levels: Levels;
  /** Whether to hatch values clipped by near and far. */
  readonly clipping: boolean;
  readonly view: View;
  readonly compare: Comparison | null;
  /** The part of the photo that the result shows, in pixels of the displayed photo; null for all of it. */
  readonly frame: Frame | null;
}

/** How long the depth takes to replace the photo, in milliseconds. */
const revealTime = 600;

/** The place of a frame and of the picture under it, in CSS pixels from the stage's upper left corner. */
export interface FramePlace {
  readonly pane: Pane;
  /** What the next result will show. */
  readonly target: Rectangle;
  readonly picture: Rectangle;
}

/** Thrown when the browser cannot draw the stage. */
export class NoWebGLError extends Error {
  override name = "NoWebGLError";
}

/**
 * The stage: holds pictures and viewpoint, and draws them at most once a frame. It follows the size of its canvas, and
 * recovers from a lost context. Handlers of pointers and keys listen to `onLayout`.
 */
export class Stage {
  /** Called after each frame with the layout that it drew. */
  onLayout: () => void = () => undefined;
  readonly #canvas: HTMLCanvasElement;
  readonly #gl: WebGL2RenderingContext;
  #renderer: Renderer;
  readonly #sizes: ResizeObserver;
  #inputs: StageInputs = {
    photo: null,
    depth: null,
    mask: null,
    result: null,
    levels: neutralLevels,
    clipping: false,
    view: "photo",
    compare: null,
    frame: null,
  };
  #stopListening = { depth: () => {}, mask: () => {} };
  /** The regions painted since the last frame. */
  #painted: { depth: Rectangle | null; mask: Rectangle | null } = { depth: null, mask: null };
  #curve: { curve: ToneCurve; levels: Levels; revision: number } | null = null;
  #viewport: Viewport = wholePicture;
  #orbit: Orbit = restingOrbit;
  #spin: Spin | null = null;
  #split = 0.5;
  /** When the current depth was first drawn; null before that. */
  #revealed: number | null = null;
  #frame: number | null = null;
  #lastFrame = 0;

  /** @throws {NoWebGLError} without WebGL2. */
  constructor(canvas: HTMLCanvasElement) {
    const gl = canvas.getContext("webgl2", { antialias: true, powerPreference: "high-performance" });
    if (!gl) throw new NoWebGLError("The browser offers no WebGL2, with which the stage is drawn.");
    this.#canvas = canvas;
    this.#gl = gl;
    this.#renderer = new Renderer(gl);
    this.#sizes = new ResizeObserver(() => this.draw());
    this.#sizes.observe(canvas);
    canvas.addEventListener("webglcontextlost", this.#lost);
    canvas.addEventListener("webglcontextrestored", this.#restored);
  }

  get panes(): Pane[] {
    return panesOf(this.#inputs.view, this.#inputs.compare, this.size, this.#split);
  }

  /** CSS pixels. */
  get size(): Size {
    return { width: this.#canvas.clientWidth, height: this.#canvas.clientHeight };
  }

  /** The layout of all pictures. */
  get world(): World {
    const { photo, depth, result, frame, view, compare } = this.#inputs;
    const views = compare ? [view, compare.with] : [view];
    return worldOf(photo ?? depth?.field ?? null, result, frame, views);
  }

  /** The view that a brush paints on: the photo while its mask is shown, otherwise the depth. */
  get paintedView(): View {
    return this.#inputs.view === "photo" && this.#inputs.mask ? "photo" : "depth";
  }

  /** The map that a brush paints. */
  get field(): DepthField | null {
    const { depth, mask } = this.#inputs;
    return (this.paintedView === "photo" ? mask : depth)?.field ?? null;
  }

  /** The position of the slider, as a share of the width. */
  get split(): number {
    return this.#split;
  }

  set split(share: number) {
    this.#split = Math.min(Math.max(share, 0), 1);
    this.draw();
  }

  get viewport(): Viewport {
    return this.#viewport;
  }

  get orbit(): Orbit {
    return this.#orbit;
  }

  /** Shows other content; the position stays. */
  show(inputs: StageInputs): void {
    const before = this.#inputs;
    const boundsBefore = this.world.bounds;
    this.#inputs = inputs;
    if (this.#isVisible)
      this.#viewport = rebased(this.#viewport, this.panes[0]!, boundsBefore, this.world.bounds);
    if (inputs.photo !== before.photo) this.#renderer.setPhoto(inputs.photo);
    if (inputs.result !== before.result) this.#renderer.setResult(inputs.result);
    if (inputs.depth !== before.depth) this.#followDepth(inputs.depth);
    if (inputs.mask !== before.mask) this.#followMask(inputs.mask);
    this.draw();
  }

  /** Zooms about a point of the stage. */
  zoom(point: Point, factor: number): void {
    const pane = paneAt(this.panes, point);
    if (pane.view === "relief") {
      this.#orbit = orbited(this.#orbit, { zoom: factor });
    } else {
      const inside = { x: point.x - pane.x, y: point.y };
      this.#viewport = zoomedAt(this.#viewport, { pane, bounds: this.world.bounds }, inside, factor);
    }
    this.draw();
  }

  /**
   * Shows picture pixels at the size of screen pixels, or the whole picture if it was zoomed. The relief returns to its
   * initial view.
   */
  toggleZoom(point: Point): void {
    const pane = paneAt(this.panes, point);
    if (pane.view === "relief") this.resetOrbit();
    else if (this.#viewport.zoom > 1) this.resetViewport();
    // Also enlarges a picture that fits the pane at that size.
    else this.zoom(point, Math.max(pixelZoom(pane, this.world.bounds, devicePixelRatio), 2));
  }

  /** Moves the picture by CSS pixels. */
  pan(by: Point): void {
    this.#viewport = panned(this.#viewport, this.panes[0]!, this.world.bounds, by);
    this.draw();
  }

  resetViewport(): void {
    this.#viewport = wholePicture;
    this.draw();
  }

  /** Turns the relief by radians. */
  turn(by: { yaw: number; pitch: number }): void {
    this.#spin = null;
    this.#orbit = orbited(this.#orbit, by);
    this.draw();
  }

  /** Lets the relief keep turning until it comes to rest. */
  spin(spin: Spin): void {
    this.#spin = spin;
    this.#lastFrame = performance.now();
    this.draw();
  }

  /** Stops the relief where it is. */
  stop(): void {
    this.#spin = null;
  }

  resetOrbit(): void {
    this.#spin = null;
    this.#orbit = restingOrbit;
    this.draw();
  }

  /** The point of the painted map under a point of the stage, in the map's pixels; null if the map is not shown. */
  mapPoint(point: Point): Point | null {
    const pane = paneAt(this.panes, point);
    const { field } = this;
    if (pane.view !== this.paintedView || !field) return null;
    const place = this.#pictureIn(pane);
    return {
      x: ((point.x - place.x) / place.width) * field.width,
      y: ((point.y - place.y) / place.height) * field.height,
    };
  }

  /** The place of the painted map, in CSS pixels from the stage's corner; null if it is not shown. */
  get mapPlace(): Rectangle | null {
    const pane = this.panes.find(({ view }) => view === this.paintedView);
    return pane && this.field ? this.#pictureIn(pane) : null;
  }

  /** The frame in each pane that shows the picture under it. */
  get frames(): FramePlace[] {
    const { bounds, frame } = this.world;
    if (!frame) return [];
    return this.panes
      .filter(({ view }) => view === "photo" || view === "depth")
      .map((pane) => ({
        pane,
        target: moved(partPlaced(this.#viewport, pane, bounds, frame), pane.x),
        picture: this.#pictureIn(pane),
      }));
  }

  /** Draws with the next frame. */
  draw(): void {
    this.#frame ??= requestAnimationFrame(this.#drawFrame);
  }

  /** Frees everything on the GPU; the stage and its canvas are unusable afterwards. */
  dispose(): void {
    this.#stopListening.depth();
    this.#stopListening.mask();
    this.#sizes.disconnect();
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#canvas.removeEventListener("webglcontextlost", this.#lost);
    this.#canvas.removeEventListener("webglcontextrestored", this.#restored);
    this.#renderer.dispose();
    // Browsers allow few contexts, and are slow to free those of removed canvases.
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  get #isVisible(): boolean {
    return this.size.width > 0 && this.size.height > 0;
  }

  #pictureIn(pane: Pane): Rectangle {
    const { bounds, picture } = this.world;
    return moved(partPlaced(this.#viewport, pane, bounds, picture), pane.x);
  }

  /** Shows another map and subscribes to its strokes. */
  #followDepth(depth: DepthPainting | null): void {
    this.#renderer.setDepth(depth);
    this.#curve = null;
    this.#revealed = null;
    this.#listen("depth", depth);
  }

  #followMask(mask: DepthPainting | null): void {
    this.#renderer.setMask(mask);
    this.#listen("mask", mask);
  }

  /** Collects the regions of a map that strokes change. */
  #listen(name: "depth" | "mask", painting: DepthPainting | null): void {
    this.#stopListening[name]();
    this.#painted[name] = null;
    const stop = painting?.subscribe((region) => {
      const before = this.#painted[name];
      if (region) this.#painted[name] = before ? union(before, region) : region;
      this.draw();
    });
    this.#stopListening[name] = stop ?? (() => {});
  }

  #drawFrame = (now: number): void => {
    this.#frame = null;
    // A hidden stage has no size; it is drawn once it becomes visible.
    if (this.#gl.isContextLost() || !this.#isVisible) return;
    this.#fitCanvas();
    if (this.#spin) {
      const { orbit, spin } = coasted(this.#orbit, this.#spin, Math.max(now - this.#lastFrame, 0));
      [this.#orbit, this.#spin] = [orbit, spin];
    }
    this.#lastFrame = now;
    this.#takeStrokes();
    const world = this.world;
    const panes = this.panes;
    this.#viewport = contained(this.#viewport, panes[0]!, world.bounds);
    const reveal = panes.some(({ view }) => view === "depth") ? this.#revealAt(now) : 1;
    this.#renderer.draw({
      panes,
      stage: this.size,
      pixelRatio: this.#gl.drawingBufferWidth / Math.max(this.size.width, 1),
      world,
      viewport: this.#viewport,
      orbit: this.#orbit,
      curve: this.#currentCurve(),
      reveal,
      clipping: this.#inputs.clipping,
    });
    if (this.#spin || reveal < 1) this.draw();
    this.onLayout();
  };

  #takeStrokes(): void {
    const { depth, mask } = this.#painted;
    if (depth) this.#renderer.updateDepth(depth);
    if (mask) this.#renderer.updateMask(mask);
    this.#painted = { depth: null, mask: null };
  }

  #fitCanvas(): void {
    const { width, height } = this.size;
    const [across, down] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
    if (this.#canvas.width !== across) this.#canvas.width = across;
    if (this.#canvas.height !== down) this.#canvas.height = down;
  }

  /** How much of the depth has replaced the photo at a time; all of it if the person prefers reduced motion. */
  #revealAt(now: number): number {
    if (!this.#inputs.depth || !this.#inputs.photo) return 1;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return 1;
    this.#revealed ??= now;
    return Math.min((now - this.#revealed) / revealTime, 1);
  }

  /** The curve of the current levels, recomputed only when they or the map have changed. */
  #currentCurve(): ToneCurve {
    const { depth, levels } = this.#inputs;
    if (!depth) return { black: 0, white: 1, gamma: 1, mirror: null };
    if (this.#curve?.levels !== levels || this.#curve.revision !== depth.revision) {
      const curve = toneCurve(depth.statistics, levels) ?? this.#curve?.curve;
      if (curve) this.#curve = { curve, levels, revision: depth.revision };
    }
    // If the percentiles are equal from the start, the map is drawn unchanged until they differ.
    return this.#curve?.curve ?? { black: 0, white: 1, gamma: levels.gamma, mirror: null };
  }

  #lost = (event: Event): void => {
    // Tells the browser that the stage can restore its context.
    event.preventDefault();
  };

  #restored = (): void => {
    this.#renderer = new Renderer(this.#gl, this.#renderer.detail);
    this.#renderer.setPhoto(this.#inputs.photo);
    this.#renderer.setResult(this.#inputs.result);
    this.#renderer.setDepth(this.#inputs.depth);
    this.#renderer.setMask(this.#inputs.mask);
    this.#painted = { depth: null, mask: null };
    this.draw();
  };
}

const moved = (rectangle: Rectangle, x: number): Rectangle => ({ ...rectangle, x: rectangle.x + x });
