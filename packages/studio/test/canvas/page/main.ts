/// <reference path="../../../src/files.d.ts" />
/** A page with the canvas and its panels alone, whose properties tests set. */
import { h, render } from "preact";
import "../../../src/design/system.css";
import "../../../src/canvas/canvas.css";
import "./page.css";
import {
  type Brush,
  BrushPanel,
  classifyPicture,
  DepthHistogram,
  DepthPainting,
  DepthStage,
  type DepthStageProps,
  decodePicture,
  type FieldOrigin,
  type Fitting,
  fieldFromNpy,
  frameFor,
  type Levels,
  makeField,
  neutralLevels,
  type PictureKind,
  renderFrame,
  type Size,
} from "../../../src/canvas/index.js";

type Shown = Omit<DepthStageProps, "onBrush">;

let shown: Shown = {
  photo: null,
  depth: null,
  mask: null,
  result: null,
  levels: neutralLevels,
  clipping: false,
  view: "photo",
  compare: null,
  brush: null,
  frame: null,
};

function draw(): void {
  const { depth, levels, brush } = shown;
  const panel =
    depth &&
    h(
      "div",
      { class: "page-panel" },
      h(DepthHistogram, {
        depth,
        levels,
        onLevels: (next: Levels) => studio.show({ levels: next }),
        onDragging: (clipping: boolean) => studio.show({ clipping }),
      }),
      h(BrushPanel, { depth, brush, onBrush: (next: Brush | null) => studio.show({ brush: next }) }),
    );
  const stage = h(DepthStage, { ...shown, onBrush: (next: Brush) => studio.show({ brush: next }) });
  render(h("div", { style: { display: "contents" } }, panel, h("div", {}, stage)), root);
}

const root = document.getElementById("root")!;

/** What tests call. */
const studio = {
  get shown(): Shown {
    return shown;
  },
  show(changes: Partial<Shown>): void {
    shown = { ...shown, ...changes };
    draw();
  },
  leave(): void {
    render(null, root);
  },
  /** @param base64 an encoded picture */
  picture: async (base64: string): Promise<ImageBitmap> => decodePicture(await blobOf(base64)),
  classify: async (base64: string): Promise<PictureKind> => {
    const file = await blobOf(base64);
    return classifyPicture(file, await decodePicture(file));
  },
  /** A picture cut or padded, encoded. */
  framed: async (base64: string, target: Size, fitting: Fitting): Promise<number[]> => {
    const picture = await studio.picture(base64);
    const file = await renderFrame(picture, frameFor(picture, target, fitting));
    return [...new Uint8Array(await file.arrayBuffer())];
  },
  npy: async (base64: string, origin: FieldOrigin): Promise<DepthPainting> =>
    new DepthPainting(fieldFromNpy(await (await blobOf(base64)).arrayBuffer(), origin)),
  /** A field of a given map by a function of its pixels. */
  painting: (width: number, height: number, at: (x: number, y: number) => number): DepthPainting => {
    const values = Float32Array.from({ length: width * height }, (_, i) =>
      at(i % width, Math.floor(i / width)),
    );
    return new DepthPainting(makeField(values, { width, height, origin: "given" }));
  },
  /** The luminance of a picture as a given map. */
  map: async (base64: string): Promise<DepthPainting> => {
    const picture = await createImageBitmap(await blobOf(base64));
    const { width, height } = picture;
    const context = new OffscreenCanvas(width, height).getContext("2d")!;
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return studio.painting(width, height, (x, y) => data[4 * (y * width + x)]! / 255);
  },
};

const blobOf = async (base64: string): Promise<Blob> =>
  await (await fetch(`data:application/octet-stream;base64,${base64}`)).blob();

export type TestPage = typeof studio;

declare global {
  interface Window {
    studio: TestPage;
  }
}

window.studio = studio;
draw();
