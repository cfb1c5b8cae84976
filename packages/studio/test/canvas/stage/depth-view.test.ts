import assert from "node:assert/strict";
import { test } from "node:test";
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

const canvas = useCanvas();

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
  // Browsers warn about the 17th context.
  for (let i = 0; i < 17; i++) {
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
