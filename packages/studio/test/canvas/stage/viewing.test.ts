import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { drawn, inset, look, panelWidth, showScene, useCanvas } from "../support/canvas-page.js";

const canvas = useCanvas();

/** A point of the stage, for the mouse. */
const on = (x: number, y: number): [number, number] => [panelWidth + x, y];

const middle = { x: inset + 200, y: inset + 150 };

/** Where the ball's left edge is on the row through its middle; the ball is red in the photo and light in the depth. */
async function ballEdge(page: Page): Promise<number> {
  const seen = await look(page);
  // The outline of the focus lies along the stage's border.
  for (let x = 4; x < seen.width; x++) {
    const [r] = seen.at(x, middle.y);
    if (r > 150) return x;
  }
  return seen.width;
}

/** Within the pixel or two by which a ball drawn by the browser and one of numbers differ, at twice their size. */
const isNear = (actual: number, expected: number, message?: string): void =>
  assert.ok(Math.abs(actual - expected) <= 3, message ?? `${actual} is not ${expected}`);

test("the wheel zooms about the pointer", async () => {
  const page = await canvas.open();
  await showScene(page);
  isNear(await ballEdge(page), inset + 120);
  await page.mouse.move(...on(inset + 120, middle.y));
  await page.mouse.wheel(0, -500);
  isNear(await ballEdge(page), inset + 120);
  await page.mouse.wheel(0, 3000);
  isNear(await ballEdge(page), inset + 120);
});

test("dragging moves a zoomed picture", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  await page.mouse.move(...on(inset + 120, middle.y));
  await page.mouse.wheel(0, -500);
  const before = await ballEdge(page);
  await page.mouse.down();
  await page.mouse.move(...on(inset + 180, middle.y), { steps: 4 });
  await page.mouse.up();
  assert.ok(Math.abs((await ballEdge(page)) - before - 60) <= 1);
});

test("zoom and position stay when another view replaces the first", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  await page.mouse.move(...on(inset + 130, inset + 60));
  await page.mouse.wheel(0, -400);
  const inPhoto = await ballEdge(page);
  for (const view of ["depth", "result", "depth"]) {
    await page.evaluate(async (view) => {
      const { photo } = window.studio.shown;
      // A result of another resolution.
      const result = await createImageBitmap(photo!, { resizeWidth: 1200, resizeHeight: 900 });
      window.studio.show({ view: view as "depth", result });
    }, view);
    isNear(await ballEdge(page), inPhoto, view);
  }
});

test("a double click shows pixels, another one everything", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  await page.mouse.dblclick(...on(inset + 120, middle.y));
  isNear(await ballEdge(page), inset + 120);
  const zoomed = await look(page);
  await page.mouse.dblclick(...on(inset + 120, middle.y));
  assert.notDeepEqual((await look(page)).bytes, zoomed.bytes);
  isNear(await ballEdge(page), inset + 120);
});

test("enlarged pixels keep their edges", async () => {
  const page = await canvas.open();
  await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(40, 30);
    const context = canvas.getContext("2d")!;
    context.fillStyle = "white";
    context.fillRect(0, 0, 20, 30);
    window.studio.show({ photo: await createImageBitmap(canvas), depth: null });
  });
  await page.mouse.move(134, 162);
  await page.mouse.wheel(0, -800);
  const seen = await look(page);
  const row = Array.from({ length: seen.width }, (_, x) => seen.at(x, 162)[0]);
  assert.ok(row.some((value) => value === 255));
  assert.deepEqual(
    row.filter((value) => value > 40 && value < 215),
    [],
  );
});

test("keys zoom, move and show everything", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  await page.locator(".stage").focus();
  for (let i = 0; i < 2; i++) await page.keyboard.press("+");
  const zoomed = await ballEdge(page);
  isNear(zoomed, middle.x - 80 * 1.25 ** 2);
  await page.keyboard.press("ArrowLeft");
  assert.ok(Math.abs((await ballEdge(page)) - zoomed - 40) <= 1);
  await page.keyboard.press("0");
  isNear(await ballEdge(page), inset + 120);
});

test("two fingers zoom and move", async () => {
  const page = await canvas.open({ hasTouch: true });
  await showScene(page, { view: "photo" });
  await drawn(page);
  const client = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", points: [number, number][]) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([x, y], id) => ({ x, y, id })),
    });
  await touch("touchStart", [on(middle.x - 40, middle.y), on(middle.x + 40, middle.y)]);
  for (const spread of [50, 60, 70, 80])
    await touch("touchMove", [on(middle.x - spread, middle.y), on(middle.x + spread, middle.y)]);
  await touch("touchEnd", []);
  const edge = await ballEdge(page);
  // Twice as large about the middle: 80 pixels from it become 160.
  assert.ok(Math.abs(edge - (middle.x - 160)) <= 3, `${edge}`);
});

test("the slider begins where the pointer is", async () => {
  const page = await canvas.open();
  await showScene(page);
  await page.mouse.move(...on(100, 100));
  await page.evaluate(() => window.studio.show({ compare: { with: "photo", mode: "slider" } }));
  await drawn(page);
  assert.equal(await page.getByRole("slider", { name: "two pictures" }).getAttribute("aria-valuenow"), "24");
  const seen = await look(page);
  assert.deepEqual(seen.at(60, 250), [40, 90, 200]);
  const [r, g, b] = seen.at(180, 250);
  assert.ok(r === g && g === b);
});

test("the slider follows the pointer and the arrow keys", async () => {
  const page = await canvas.open();
  await showScene(page, { compare: { with: "photo", mode: "slider" } });
  await drawn(page);
  const slider = page.getByRole("slider", { name: "two pictures" });
  await page.mouse.move(...on(212, 60));
  await page.mouse.down();
  await page.mouse.move(...on(318, 80), { steps: 3 });
  await page.mouse.up();
  await drawn(page);
  assert.equal(await slider.getAttribute("aria-valuenow"), "75");
  await slider.press("ArrowLeft");
  await drawn(page);
  assert.equal(await slider.getAttribute("aria-valuenow"), "73");
  await slider.press("Home");
  await drawn(page);
  assert.equal(await slider.getAttribute("aria-valuenow"), "0");
});

test("a press next to the slider brings it there", async () => {
  const page = await canvas.open();
  await showScene(page, { compare: { with: "photo", mode: "slider" } });
  await drawn(page);
  await page.mouse.click(...on(106, 200));
  await drawn(page);
  assert.equal(await page.getByRole("slider", { name: "two pictures" }).getAttribute("aria-valuenow"), "25");
});

test("side by side, both views show the same part", async () => {
  const page = await canvas.open();
  await showScene(page, { compare: { with: "photo", mode: "side" } });
  await page.mouse.move(...on(100, 162));
  await page.mouse.wheel(0, -300);
  const seen = await look(page);
  const half = Math.floor((seen.width - 8) / 2);
  for (let x = 20; x < half - 20; x += 7) {
    const inPhoto = seen.at(x, 162)[0] > 150;
    const inDepth = seen.at(seen.width - half + x, 162)[0] > 150;
    assert.equal(inDepth, inPhoto, `${x}`);
  }
});

test("the parts of the photo that a mask keeps lose their colour, and a brush paints the mask", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  const before = await look(page);
  await page.evaluate(() =>
    window.studio.show({ mask: window.studio.painting(100, 75, (x) => (x < 50 ? 1 : 0)) }),
  );
  const [free, kept] = [
    [inset + 60, inset + 40],
    [inset + 350, inset + 40],
  ] as const;
  const masked = await look(page);
  assert.deepEqual(masked.at(...free), before.at(...free));
  const [r, g, b] = masked.at(...kept);
  assert.ok(r === g && g === b && r < 100, `${r} ${g} ${b}`);
  await page.evaluate(() =>
    window.studio.show({ brush: { tool: "set", size: 20, hardness: 1, strength: 1, value: 1 } }),
  );
  await drawn(page);
  await page.mouse.click(...on(...kept));
  // The brush leaves the place.
  await page.mouse.move(...on(inset + 60, inset + 250));
  assert.deepEqual((await look(page)).at(...kept), before.at(...kept));
  await page.evaluate(() => window.studio.show({ view: "depth", brush: null }));
  const depth = await look(page);
  await page.evaluate(() => window.studio.show({ mask: null }));
  assert.deepEqual((await look(page)).bytes, depth.bytes);
});

test("a frame dims what the next image leaves out", async () => {
  const page = await canvas.open();
  await showScene(page, { view: "photo" });
  const before = await look(page);
  await page.evaluate(() =>
    window.studio.show({
      frame: {
        source: { x: 50, y: 0, width: 300, height: 300 },
        place: { x: 0, y: 0, width: 256, height: 256 },
        target: { width: 256, height: 256 },
      },
    }),
  );
  const after = await look(page);
  assert.deepEqual(after.at(inset + 100, inset + 20), before.at(inset + 100, inset + 20));
  assert.ok(after.at(inset + 20, inset + 20)[2] < before.at(inset + 20, inset + 20)[2] / 2);
});
