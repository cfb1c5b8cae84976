import type { DepthPainting } from "../brush/painting.js";
import type { ToneCurve } from "../field/levels.js";
import type { Rectangle, Size } from "../field/rectangle.js";
import { cameraDistance, cameraMatrix, type Orbit } from "./orbit.js";
import type { Pane } from "./panes.js";
import { Program } from "./program.js";
import {
  cornersFragment,
  depthFragment,
  maskedFragment,
  pictureFragment,
  rectangleVertex,
  reliefFragment,
  reliefVertex,
} from "./shaders.js";
import { FieldTexture, PictureTexture, TargetTexture } from "./textures.js";
import { partPlaced, type Viewport } from "./viewport.js";
import type { World } from "./world.js";

/** What to draw, apart from the pictures. */
export interface Scene {
  readonly panes: readonly Pane[];
  readonly stage: Size;
  /** Pixels of the screen for each CSS pixel. */
  readonly pixelRatio: number;
  readonly world: World;
  readonly viewport: Viewport;
  readonly orbit: Orbit;
  readonly curve: ToneCurve;
  /** How much of the depth has replaced the photo, 0 to 1. */
  readonly reveal: number;
  readonly clipping: boolean;
}

/**
 * Cells of the relief's mesh along its longer side. The finest mesh shows every outline; a machine that renders in
 * software gets as many cells as it can turn smoothly.
 */
const mesh = { finest: 400, coarsest: 140 };

/** How long the relief may take to draw, in milliseconds. */
const drawingTime = 16;

/** The slope at which the mesh is cut, as depth per longer side of the photo; floors are flatter, outlines steeper. */
const cliff = 18;

/** The thickness of the relief, as a multiple of the height that the camera sees. */
const thickness = 0.5;

/** From this zoom and this many screen pixels per picture pixel on, pixels are drawn with hard edges. */
const pixelatedFrom = { zoom: 2, enlargement: 4 };

/** The shaders of each program. */
const sources = {
  picture: [rectangleVertex, pictureFragment],
  masked: [rectangleVertex, maskedFragment],
  depth: [rectangleVertex, depthFragment],
  corners: [rectangleVertex, cornersFragment],
  relief: [reliefVertex, reliefFragment],
} as const;

type ProgramName = keyof typeof sources;

/** Draws the stage with WebGL2. It holds exactly the state that is lost with the context. */
export class Renderer {
  readonly #gl: WebGL2RenderingContext;
  /** Compiled when they are first used: most visits never draw a relief. */
  readonly #programs = new Map<ProgramName, Program>();
  /** Replaces a missing photo. */
  readonly #blank: WebGLTexture;
  #photo: PictureTexture | null = null;
  #result: PictureTexture | null = null;
  #mask: { readonly painting: DepthPainting; readonly texture: FieldTexture } | null = null;
  #painting: DepthPainting | null = null;
  #field: FieldTexture | null = null;
  #heights: TargetTexture | null = null;
  /** Cells along the longer side; null until the first relief has been timed. */
  #detail: number | null;
  /** The curve from which the heights were made; null when they are out of date. */
  #heightsCurve: ToneCurve | null = null;

  /** @param detail the mesh detail that an earlier renderer found suitable for this machine */
  constructor(gl: WebGL2RenderingContext, detail: number | null = null) {
    this.#gl = gl;
    this.#detail = detail;
    this.#blank = gl.createTexture();
    // Vertices have no attributes, but some drivers require a bound array.
    gl.bindVertexArray(gl.createVertexArray());
  }

  /** The finest mesh that the machine draws in time; null while unknown. */
  get detail(): number | null {
    return this.#detail;
  }

  setPhoto(picture: ImageBitmap | null): void {
    this.#photo?.dispose();
    this.#photo = picture && new PictureTexture(this.#gl, picture);
  }

  setResult(picture: ImageBitmap | null): void {
    this.#result?.dispose();
    this.#result = picture && new PictureTexture(this.#gl, picture);
  }

  setDepth(painting: DepthPainting | null): void {
    this.#field?.dispose();
    this.#painting = painting;
    this.#field = painting && new FieldTexture(this.#gl, painting.field);
    this.#remesh();
  }

  setMask(painting: DepthPainting | null): void {
    this.#mask?.texture.dispose();
    this.#mask = painting && { painting, texture: new FieldTexture(this.#gl, painting.field) };
  }

  /** Uploads painted values of the mask. */
  updateMask(region: Rectangle): void {
    this.#mask!.texture.update(this.#mask!.painting.field, region);
  }

  /** Uploads painted values of the depth. */
  updateDepth(region: Rectangle): void {
    this.#field!.update(this.#painting!.field, region);
    this.#heightsCurve = null;
  }

  draw(scene: Scene): void {
    const gl = this.#gl;
    const relief = scene.panes.find(({ view }) => view === "relief");
    if (relief && this.#painting) this.#prepareRelief(relief, scene);
    gl.disable(gl.SCISSOR_TEST);
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.SCISSOR_TEST);
    for (const pane of scene.panes) this.#drawPane(pane, scene);
  }

  dispose(): void {
    this.setPhoto(null);
    this.setResult(null);
    this.setDepth(null);
    this.setMask(null);
    for (const program of this.#programs.values()) program.dispose();
    this.#gl.deleteTexture(this.#blank);
  }

  #program(name: ProgramName): Program {
    let program = this.#programs.get(name);
    if (!program) {
      const [vertex, fragment] = sources[name];
      program = new Program(this.#gl, vertex, fragment);
      this.#programs.set(name, program);
    }
    return program;
  }

  #drawPane(pane: Pane, scene: Scene): void {
    const gl = this.#gl;
    const { pixelRatio } = scene;
    const [from, to] = [Math.round(pane.from * pixelRatio), Math.round(pane.to * pixelRatio)];
    if (to <= from) return;
    gl.scissor(from, 0, to - from, gl.drawingBufferHeight);
    const x = Math.round(pane.x * pixelRatio);
    const width = Math.round(pane.width * pixelRatio);
    gl.viewport(x, 0, width, gl.drawingBufferHeight);
    if (pane.view === "depth") this.#drawDepth(pane, scene);
    else if (pane.view === "relief") this.#drawRelief(pane, scene);
    else this.#drawPicture(pane.view === "photo" ? this.#photo : this.#result, pane, scene);
  }

  #drawPicture(picture: PictureTexture | null, pane: Pane, scene: Scene): void {
    if (!picture) return;
    const { bounds, picture: photo, result } = scene.world;
    const part = pane.view === "result" ? result : photo;
    const place = partPlaced(scene.viewport, pane, bounds, part);
    const enlargement = (place.width * scene.pixelRatio) / picture.width;
    const pixelated = scene.viewport.zoom >= pixelatedFrom.zoom && enlargement >= pixelatedFrom.enlargement;
    picture.bind(0, { pixelated });
    const mask = pane.view === "photo" ? this.#mask : null;
    mask?.texture.bind(1);
    this.#program(mask ? "masked" : "picture").use({ picture: 0, mask: 1, place: inClipSpace(place, pane) });
    this.#drawRectangle();
  }

  #drawDepth(pane: Pane, scene: Scene): void {
    if (!this.#painting || !this.#field) return;
    const { bounds, picture } = scene.world;
    const place = partPlaced(scene.viewport, pane, bounds, picture);
    const { width, height } = this.#painting.field;
    this.#field.bind(0);
    this.#bindPhoto(1);
    this.#program("depth").use({
      ...levelUniforms(scene.curve),
      photo: 1,
      reveal: this.#photo ? scene.reveal : 1,
      clipping: scene.clipping ? 1 : 0,
      texels: [width / (place.width * scene.pixelRatio), height / (place.height * scene.pixelRatio)],
      pixelRatio: scene.pixelRatio,
      place: inClipSpace(place, pane),
    });
    this.#drawRectangle();
  }

  #drawRelief(pane: Pane, scene: Scene): void {
    const heights = this.#heights;
    if (!heights) return;
    const gl = this.#gl;
    const aspect = pane.width / pane.height;
    const { picture } = scene.world;
    const photo = { width: picture.width / picture.height, height: 1 };
    const seen = Math.max(photo.height, photo.width / aspect);
    this.#field!.bind(0);
    this.#bindPhoto(1);
    heights.bind(2);
    this.#program("relief").use({
      ...levelUniforms(scene.curve),
      photo: 1,
      heights: 2,
      clay: !this.#photo,
      corners: [heights.width, heights.height],
      camera: cameraMatrix(scene.orbit, photo, aspect),
      photoSize: [photo.width, photo.height],
      thickness: thickness * Math.min(photo.width, photo.height),
      distance: cameraDistance * seen,
      jump: jumpOf(heights),
    });
    gl.enable(gl.DEPTH_TEST);
    gl.drawArraysInstanced(gl.TRIANGLES, 0, 6 * (heights.width - 1) * (heights.height - 1), 2);
    gl.disable(gl.DEPTH_TEST);
  }

  /** Prepares the heights. Before the first relief, measures how fine a mesh this machine draws in time. */
  #prepareRelief(pane: Pane, scene: Scene): void {
    this.#makeHeights(scene.curve);
    if (this.#detail !== null) return;
    this.#finishRelief(pane, scene); // Also compiles the shaders, so it is not timed.
    const began = performance.now();
    this.#finishRelief(pane, scene);
    const time = performance.now() - began;
    const affordable = mesh.coarsest * Math.sqrt(drawingTime / time);
    this.#detail = Math.min(Math.max(Math.round(affordable), mesh.coarsest), mesh.finest);
    this.#remesh();
    this.#makeHeights(scene.curve);
  }

  /** Draws the relief and waits until it is drawn. */
  #finishRelief(pane: Pane, scene: Scene): void {
    this.#drawRelief(pane, scene);
    const gl = this.#gl;
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }

  /** Writes the corners of the mesh, unless they are up to date. */
  #makeHeights(curve: ToneCurve): void {
    const heights = this.#heights;
    if (!heights || !this.#field || this.#heightsCurve === curve) return;
    this.#gl.disable(this.#gl.SCISSOR_TEST);
    this.#field.bind(0);
    heights.paint(() => {
      this.#program("corners").use({
        ...levelUniforms(curve),
        corners: [heights.width, heights.height],
        jump: jumpOf(heights),
        place: [-1, -1, 2, 2],
      });
      this.#drawRectangle();
    });
    this.#heightsCurve = curve;
  }

  /** Prepares a mesh of the current detail for the current field. */
  #remesh(): void {
    this.#heights?.dispose();
    this.#heightsCurve = null;
    this.#heights = null;
    if (!this.#painting) return;
    const { width, height } = this.#painting.field;
    const scale = Math.min((this.#detail ?? mesh.coarsest) / Math.max(width, height), 1);
    const corners = (length: number): number => Math.max(2, Math.round(length * scale) + 1);
    this.#heights = new TargetTexture(this.#gl, corners(width), corners(height));
  }

  #bindPhoto(unit: number): void {
    if (this.#photo) {
      this.#photo.bind(unit, { pixelated: false });
    } else {
      this.#gl.activeTexture(this.#gl.TEXTURE0 + unit);
      this.#gl.bindTexture(this.#gl.TEXTURE_2D, this.#blank);
    }
  }

  #drawRectangle(): void {
    this.#gl.drawArrays(this.#gl.TRIANGLE_STRIP, 0, 4);
  }
}

/** The difference of depth between neighbouring corners at which the mesh is cut. */
const jumpOf = ({ width, height }: Size): number => cliff / Math.max(width, height);

const levelUniforms = ({ black, white, gamma, mirror }: ToneCurve) => ({
  depth: 0,
  black,
  white,
  exponent: 1 / gamma,
  mirror: mirror ?? -1,
});

/** A place in a pane in clip space, from its lower left corner. */
function inClipSpace(place: { x: number; y: number } & Size, pane: Size): [number, number, number, number] {
  const [width, height] = [(2 * place.width) / pane.width, (2 * place.height) / pane.height];
  return [(2 * place.x) / pane.width - 1, 1 - (2 * place.y) / pane.height - height, width, height];
}
