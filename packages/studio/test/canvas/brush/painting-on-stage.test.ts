import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Brush } from "../../../src/canvas/brush/brush.js";
import { drawn, inset, look, panelWidth, showScene, useCanvas } from "../support/canvas-page.js";

const canvas = useCanvas();

const brush: Brush = { tool: "raise", size: 40, hardness: 0.5, strength: 1, value: 0.5 };

/** A pixel of the map, for the mouse. */
const onMap = (x: number, y: number): [number, number] => [panelWidth + inset + x, inset + y];

const valueAt = (page: Page, x: number, y: number): Promise<number> =>
  page.evaluate(([x, y]) => window.studio.shown.depth!.valueAt(x, y), [x, y] as const);

async function open(changes: object = {}): Promise<Page> {
  const page = await canvas.open();
  await showScene(page, { brush, ...changes });
  await drawn(page);
  return page;
}

async function stroke(page: Page, from: [number, number], to: [number, number]): Promise<void> {
  await page.mouse.move(...onMap(...from));
  await page.mouse.down();
  await page.mouse.move(...onMap(...to), { steps: 8 });
  await page.mouse.up();
}

test("a stroke changes the map along its way, and the picture with it", async () => {
  const page = await open();
  const before = await look(page);
  await stroke(page, [30, 40], [90, 40]);
  assert.ok((await valueAt(page, 60, 40)) > 0.2);
  assert.ok((await valueAt(page, 60, 90)) < 0.2);
  const after = await look(page);
  assert.ok(after.at(inset + 50, inset + 40)[0] > before.at(inset + 50, inset + 40)[0] + 20);
});

test("Ctrl+Z takes strokes back one by one, Ctrl+Shift+Z and Ctrl+Y repeat them", async () => {
  const page = await open();
  const values: number[] = [await valueAt(page, 60, 40)];
  for (let i = 0; i < 2; i++) {
    await stroke(page, [30, 40], [90, 40]);
    values.push(await valueAt(page, 60, 40));
  }
  await page.keyboard.press("Control+z");
  assert.equal(await valueAt(page, 60, 40), values[1]);
  await page.keyboard.press("Control+z");
  assert.equal(await valueAt(page, 60, 40), values[0]);
  await page.keyboard.press("Control+Shift+z");
  assert.equal(await valueAt(page, 60, 40), values[1]);
  await page.keyboard.press("Control+y");
  assert.equal(await valueAt(page, 60, 40), values[2]);
});

test("Alt-click picks the depth under the pointer and sets it elsewhere", async () => {
  const page = await open();
  await page.keyboard.down("Alt");
  await page.mouse.click(...onMap(200, 150));
  await page.keyboard.up("Alt");
  const picked = await page.evaluate(() => window.studio.shown.brush!);
  assert.equal(picked.tool, "set");
  assert.ok(Math.abs(picked.value - 0.9) < 1e-6);
  await stroke(page, [40, 40], [60, 40]);
  assert.ok(Math.abs((await valueAt(page, 50, 40)) - 0.9) < 1e-3);
});

test("the brackets change the size of the brush and of its cursor", async () => {
  const page = await open();
  await page.mouse.move(...onMap(100, 100));
  await drawn(page);
  const rim = page.locator(".brush-cursor-rim");
  assert.equal((await rim.boundingBox())!.width, 40);
  await page.locator(".stage").focus();
  await page.keyboard.press("]");
  await drawn(page);
  assert.equal((await rim.boundingBox())!.width, 48);
  await page.keyboard.press("[");
  await page.keyboard.press("[");
  await drawn(page);
  assert.equal((await rim.boundingBox())!.width, 30);
});

test("the cursor is as large as the brush when the map is zoomed", async () => {
  const page = await open();
  await page.mouse.move(...onMap(200, 150));
  await page.mouse.wheel(0, -Math.log(2) / 0.002);
  await drawn(page);
  assert.ok(Math.abs((await page.locator(".brush-cursor-rim").boundingBox())!.width - 80) < 1);
});

test("keys alone move the brush and paint", async () => {
  const page = await open();
  await page.locator(".stage").focus();
  await page.keyboard.press("Shift+ArrowLeft");
  for (let i = 0; i < 8; i++) await page.keyboard.press("Shift+ArrowLeft");
  for (let i = 0; i < 5; i++) await page.keyboard.press("Shift+ArrowUp");
  await page.locator(".brush-cursor-rim").waitFor();
  const before = await valueAt(page, 20, 50);
  await page.keyboard.press("Enter");
  assert.ok((await valueAt(page, 20, 50)) > before);
});

test("a pen paints with its pressure", async () => {
  const page = await open({ brush: { ...brush, tool: "set", value: 1 } });
  const client = await page.context().newCDPSession(page);
  const base = await valueAt(page, 60, 60);
  const [x, y] = onMap(60, 60);
  const pen = { x, y, button: "left", pointerType: "pen", force: 0.25, clickCount: 1 } as const;
  await client.send("Input.dispatchMouseEvent", { type: "mousePressed", ...pen });
  await client.send("Input.dispatchMouseEvent", { type: "mouseReleased", ...pen, force: 0 });
  const changed = (await valueAt(page, 60, 60)) - base;
  assert.ok(Math.abs(changed - 0.25 * (1 - base)) < 0.02, `${changed}`);
});

test("a second finger turns a stroke into a pinch that paints nothing", async () => {
  const page = await canvas.open({ hasTouch: true });
  await showScene(page, { brush });
  await drawn(page);
  const sum = () => page.evaluate(() => window.studio.shown.depth!.field.values.reduce((a, b) => a + b));
  const before = await sum();
  const client = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", points: [number, number][]) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([x, y], id) => ({ x, y, id })),
    });
  await touch("touchStart", [onMap(60, 60)]);
  await touch("touchMove", [onMap(70, 60)]);
  await touch("touchStart", [onMap(70, 60), onMap(150, 60)]);
  await touch("touchMove", [onMap(50, 60), onMap(170, 60)]);
  await touch("touchEnd", []);
  assert.equal(await sum(), before);
  assert.equal(await page.evaluate(() => window.studio.shown.depth!.canUndo), false);
});

test("a movement on a megapixel is painted and counted in less time than three looks at the map take", async () => {
  const page = await canvas.open();
  await page.evaluate(() => {
    const depth = window.studio.painting(
      1024,
      1024,
      (x, y) => 0.5 + 0.4 * Math.sin(x / 90) * Math.cos(y / 70),
    );
    window.studio.show({ depth, view: "depth" });
  });
  await drawn(page);
  const { times, look } = await page.evaluate(() => {
    const painting = window.studio.shown.depth!;
    const fastest = (work: (i: number) => void): number => {
      const times = Array.from({ length: 25 }, (_, i) => {
        const began = performance.now();
        work(i);
        return performance.now() - began;
      });
      return Math.min(...times);
    };
    const { values } = painting.field;
    let sum = 0;
    const look = fastest(() => {
      for (let i = 0; i < values.length; i++) sum += values[i]!;
    });
    if (Number.isNaN(sum)) throw new RangeError("the map has values");
    const times = (["raise", "lower", "smooth", "set"] as const).map((tool) => {
      const brush = { tool, size: 300, hardness: 0.3, strength: 0.5, value: 0.5 };
      painting.begin(brush, { x: 200, y: 200, pressure: 1 });
      const time = fastest((i) => {
        painting.move({ x: 200 + 38 * (i + 1), y: 300 + 10 * i, pressure: 1 });
        painting.statistics;
      });
      painting.end();
      return time;
    });
    return { times, look };
  });
  // Whatever the machine. A movement takes about half a look, on a usual machine a part of a frame. Other processes slow
  // some movements down, so the fastest counts.
  for (const time of times) assert.ok(time < 3 * look, `${times.join(" ")} ms; a look takes ${look} ms`);
});
