import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import { type Levels, neutralLevels } from "../../../src/canvas/field/levels.js";
import { becomes } from "../../support/patience.js";
import {
  drawn,
  glance,
  inset,
  look,
  panelWidth,
  showScene,
  stageSize,
  useCanvas,
} from "../support/canvas-page.js";
import { fieldOf, random } from "../support/fields.js";
import { adjustedMap, normalizedMap, type Raster } from "../support/library.js";

const canvas = useCanvas();
const [width, height] = [400, 300];

const next = random(11);
/** Slopes, an edge, noise, and values at both ends. */
const map = fieldOf(width, height, (x, y) => {
  if (y < 4) return x % 2;
  const slope = x < 150 ? x / 300 : 1 - x / 500;
  return Math.min(Math.max(slope + (next() - 0.5) * (y > 200 ? 0.3 : 0.01), 0), 1);
});

/** Shows values as an `.npy` file of the server has them. */
async function showNpy(
  page: Page,
  { data, width, height }: Omit<Raster, "channels">,
  origin: "given" | "estimate",
): Promise<void> {
  const header = `${`{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`.padEnd(117)}\n`;
  const prefix = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0]);
  const file = Buffer.concat([prefix, Buffer.from(header), Buffer.from(data.buffer)]).toString("base64");
  await page.evaluate(
    async ([file, origin]) =>
      window.studio.show({ depth: await window.studio.npy(file, origin), view: "depth" }),
    [file, origin] as const,
  );
}

const show = (page: Page, levels: Levels): Promise<void> =>
  page.evaluate((levels) => window.studio.show({ levels }), levels);

/** The largest difference between what is seen and a map, in steps of 255. */
async function difference(page: Page, expected: Raster): Promise<number> {
  const seen = await look(page);
  let most = 0;
  for (let y = 0; y < expected.height; y++)
    for (let x = 0; x < expected.width; x++) {
      const [r, g, b] = seen.at(inset + x, inset + y);
      assert.ok(r === g && g === b, "the map is grey");
      most = Math.max(most, Math.abs(r - 255 * expected.data[y * expected.width + x]!));
    }
  return most;
}

const levels: readonly Levels[] = [
  neutralLevels,
  { ...neutralLevels, invert: true },
  { near: 97, far: 3, gamma: 1, invert: false },
  { near: 80, far: 30, gamma: 2.2, invert: false },
  { near: 100, far: 10, gamma: 0.4, invert: true },
];

describe("the depth drawn equals the library's within 1/255", () => {
  test("for a given map", async () => {
    const page = await canvas.open();
    await showNpy(page, { ...map, data: map.values }, "given");
    for (const given of levels) {
      await show(page, given);
      const expected = adjustedMap({ ...map, channels: 1, data: map.values }, "a map", given);
      const most = await difference(page, expected);
      assert.ok(most <= 1, `${JSON.stringify(given)}: ${most}`);
    }
  });

  test("for an estimate at its own size", async () => {
    const page = await canvas.open();
    const inverse = { width, height, channels: 1, data: map.values.map((value) => 7 * value - 2) };
    await showNpy(page, inverse, "estimate");
    for (const given of levels) {
      await show(page, given);
      const most = await difference(page, normalizedMap(inverse, width, height, "a photo", given));
      assert.ok(most <= 1, `${JSON.stringify(given)}: ${most}`);
    }
  });

  test("for an estimate that the server shrinks", async () => {
    const page = await canvas.open();
    await page.evaluate(async () => {
      // The photo's proportions decide where the map is drawn.
      const photo = await createImageBitmap(new ImageData(400, 300));
      window.studio.show({ photo });
    });
    const data = fieldOf(640, 640, (x, y) => Math.sin(x / 9) + Math.cos(y / 7) + (x > 320 ? 2 : 0)).values;
    const inverse = { width: 640, height: 640, channels: 1, data };
    await showNpy(page, inverse, "estimate");
    for (const given of levels) {
      await show(page, given);
      const most = await difference(page, normalizedMap(inverse, width, height, "a photo", given));
      assert.ok(most <= 1, `${JSON.stringify(given)}: ${most}`);
    }
  });

  test("for an estimate that the server enlarges", async () => {
    const page = await canvas.open();
    const data = fieldOf(160, 120, (x, y) => 3 + Math.sin(x / 9) + Math.cos(y / 7) + (x > 80 ? 2 : 0)).values;
    const inverse = { width: 160, height: 120, channels: 1, data };
    await showNpy(page, inverse, "estimate");
    for (const given of levels) {
      await show(page, given);
      const most = await difference(page, normalizedMap(inverse, width, height, "a photo", given));
      assert.ok(most <= 1, `${JSON.stringify(given)}: ${most}`);
    }
  });
});

test("new levels are seen in the next frame", async () => {
  const page = await canvas.open();
  await showScene(page);
  await drawn(page);
  const greys = await page.evaluate(async () => {
    const gl = document.querySelector("canvas")!.getContext("webgl2")!;
    const middle = (): number => {
      const pixel = new Uint8Array(4);
      gl.readPixels(
        gl.drawingBufferWidth / 2,
        gl.drawingBufferHeight / 2,
        1,
        1,
        gl.RGBA,
        gl.UNSIGNED_BYTE,
        pixel,
      );
      return pixel[0]!;
    };
    const found: number[] = [];
    for (const invert of [true, false, true]) {
      window.studio.show({ levels: { near: 100, far: 0, gamma: 1, invert } });
      // Preact renders before the next frame; this callback runs after the stage's own.
      await new Promise<void>((resolve) => queueMicrotask(resolve));
      await new Promise<void>((resolve) =>
        requestAnimationFrame(() => {
          found.push(middle());
          resolve();
        }),
      );
    }
    return found;
  });
  // An inverted map is mirrored within its own range, here 0.1 to 0.9.
  assert.deepEqual(greys, [26, 230, 26]);
});

test("what near and far cut off is hatched while they change, and nothing else", async () => {
  const page = await canvas.open();
  await showScene(page, { levels: { near: 70, far: 0, gamma: 1, invert: false } });
  const before = await look(page);
  await page.evaluate(() => window.studio.show({ clipping: true }));
  const during = await look(page);
  const changed = (fromX: number, toX: number, y: number): number => {
    let count = 0;
    for (let x = fromX; x < toX; x++) if (before.at(x, y).join() !== during.at(x, y).join()) count++;
    return count / (toX - fromX);
  };
  const ball = changed(inset + 150, inset + 250, inset + 150);
  assert.ok(ball > 0.2 && ball < 0.6, `${ball}`);
  assert.equal(changed(inset, inset + 100, inset + 20), 0);
  await page.evaluate(() => window.studio.show({ clipping: false }));
  assert.deepEqual((await look(page)).bytes, before.bytes);
});

test("the depth replaces the photo from near to far, once", async () => {
  const page = await canvas.open({ reducedMotion: "no-preference" });
  await page.clock.install({ time: 0 });
  await page.clock.pauseAt(1000);
  await showScene(page);
  const isPhoto = ([r, g, b]: [number, number, number]): boolean =>
    Math.max(r, g, b) - Math.min(r, g, b) > 25;
  const ball = [inset + 200, inset + 150] as const;
  const slope = [inset + 20, inset + 20] as const;
  const stages: readonly [time: number, seen: boolean[]][] = [
    [40, [true, true]],
    [320, [false, true]],
    [400, [false, false]],
  ];
  for (const [time, seen] of stages) {
    await page.clock.runFor(time);
    // The browser shows a frame some time after the page drew it.
    await becomes(seen, async () => {
      const { at } = await glance(page);
      return [isPhoto(at(...ball)), isPhoto(at(...slope))];
    });
  }
  await page.evaluate(() => window.studio.show({ view: "photo" }));
  await page.clock.runFor(50);
  await page.evaluate(() => window.studio.show({ view: "depth" }));
  await page.clock.runFor(50);
  assert.equal(isPhoto((await glance(page)).at(...slope)), false);
});

test("people who want no motion see the depth at once", async () => {
  const page = await canvas.open();
  await showScene(page);
  const [r, g, b] = (await look(page)).at(inset + 20, inset + 20);
  assert.ok(r === g && g === b);
});

test("the stage is drawn again after its context was lost", async () => {
  const page = await canvas.open();
  for (const view of ["depth", "relief", "photo"]) {
    await showScene(page, { view });
    const before = await look(page);
    await page.evaluate(async () => {
      const element = document.querySelector("canvas")!;
      const extension = element.getContext("webgl2")!.getExtension("WEBGL_lose_context")!;
      const event = (name: string) =>
        new Promise((resolve) => element.addEventListener(name, resolve, { once: true }));
      const lost = event("webglcontextlost");
      extension.loseContext();
      await lost;
      // What arrives in the meantime is drawn, too.
      const restored = event("webglcontextrestored");
      setTimeout(() => extension.restoreContext());
      await restored;
    });
    assert.deepEqual((await look(page)).bytes, before.bytes, view);
  }
});

test("a removed stage gives its context back", async () => {
  const page = await canvas.open();
  const warnings: string[] = [];
  page.on("console", (message) => warnings.push(message.text()));
  for (let i = 0; i < 20; i++) {
    await showScene(page);
    await drawn(page);
    await page.evaluate(() => window.studio.leave());
  }
  assert.deepEqual(
    warnings.filter((text) => /context/i.test(text)),
    [],
  );
});

test("a browser without WebGL2 says so", async () => {
  const page = await canvas.open();
  await page.evaluate(() => window.studio.leave());
  await page.evaluate(() => {
    HTMLCanvasElement.prototype.getContext = () => null;
    window.studio.show({});
  });
  await page.getByText("cannot draw depth").waitFor();
});

test("the stage follows the size of its place", async () => {
  const page = await canvas.open();
  await showScene(page);
  await drawn(page);
  await page.setViewportSize({ width: panelWidth + stageSize.width + 100, height: stageSize.height + 300 });
  await page.waitForFunction(
    (width) => document.querySelector("canvas")!.width === width,
    stageSize.width + 100,
  );
  assert.equal((await look(page)).height, stageSize.height + 300);
});
