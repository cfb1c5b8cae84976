import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { drawn, glance, inset, look, panelWidth, showScene, useCanvas } from "../support/canvas-page.js";

const canvas = useCanvas();

/** Pixels of the photo for each of the map's: a machine without a GPU takes long for every triangle. */
const shrinking = 4;

const showRelief = (page: Page, changes: object = {}): Promise<void> =>
  showScene(page, { view: "relief", ...changes }, shrinking);

async function drag(page: Page, by: [number, number], { slowly = true } = {}): Promise<void> {
  await page.mouse.move(panelWidth + 200, 160);
  await page.mouse.down();
  await page.mouse.move(panelWidth + 200 + by[0], 160 + by[1], { steps: 6 });
  // Momentum is that of the last movements; a pause leaves none.
  if (slowly) await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 150)));
  await page.mouse.up();
}

const isGround = ([r, g, b]: [number, number, number]): boolean => Math.max(r, g, b) < 40;

test("dragging turns the relief, and a double click brings it back", async () => {
  const page = await canvas.open();
  await showRelief(page);
  const resting = await look(page);
  await drag(page, [90, 20]);
  const turned = await look(page);
  assert.notDeepEqual(turned.bytes, resting.bytes);
  await page.mouse.dblclick(panelWidth + 200, 160);
  assert.deepEqual((await look(page)).bytes, resting.bytes);
});

test("where depth jumps there is a gap, not a wall", async () => {
  const page = await canvas.open();
  // Of the whole map, whose mesh is fine enough to tell a gap from a wall.
  await showScene(page, { view: "relief" });
  const seen = await look(page);
  // Along the row through the ball: ball, gap, and the slope behind it.
  const kinds: string[] = [];
  for (let x = 0; x < seen.width; x++) {
    const colour = seen.at(x, 162);
    const kind = isGround(colour) ? "gap" : colour[0] > colour[2] ? "ball" : "slope";
    if (kinds.at(-1) !== kind) kinds.push(kind);
  }
  assert.ok(
    kinds.join(" ").includes("slope gap ball") || kinds.join(" ").includes("ball gap slope"),
    kinds.join(" "),
  );
});

test("from the front nothing is missing", async () => {
  const page = await canvas.open();
  await showRelief(page);
  await page.locator(".stage").focus();
  // To the limits, which lie 15 and 12 steps from the front, and back; with Shift, a press makes four steps.
  for (let i = 0; i < 5; i++) await page.keyboard.press("Shift+ArrowRight");
  for (let i = 0; i < 3; i++) await page.keyboard.press("Shift+ArrowLeft");
  for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowLeft");
  for (let i = 0; i < 5; i++) await page.keyboard.press("Shift+ArrowUp");
  for (let i = 0; i < 3; i++) await page.keyboard.press("Shift+ArrowDown");
  const seen = await look(page);
  let gaps = 0;
  for (let y = 80; y < 240; y += 2) for (let x = 100; x < 320; x += 2) if (isGround(seen.at(x, y))) gaps++;
  assert.ok(gaps < 10, `${gaps}`);
});

test("the wheel and the keys zoom and turn it", async () => {
  const page = await canvas.open();
  await showRelief(page);
  await page.locator(".stage").focus();
  const resting = await look(page);
  await page.mouse.move(panelWidth + 200, 160);
  await page.mouse.wheel(0, -300);
  const zoomed = await look(page);
  assert.notDeepEqual(zoomed.bytes, resting.bytes);
  await page.keyboard.press("Home");
  assert.deepEqual((await look(page)).bytes, resting.bytes);
  await page.keyboard.press("Shift+ArrowRight");
  assert.notDeepEqual((await look(page)).bytes, resting.bytes);
});

test("let go in motion, it turns on, and stops when it is touched", async () => {
  const page = await canvas.open({ reducedMotion: "no-preference" });
  // The first relief is timed, so that the clock has to run until it is drawn.
  await showRelief(page);
  await drawn(page);
  await page.clock.install({ time: 0 });
  await page.clock.pauseAt(1000);
  // The clock stands still meanwhile, which makes a short way a fast one.
  await drag(page, [3, 0], { slowly: false });
  const seen: Buffer[] = [];
  for (let i = 0; i < 3; i++) {
    await page.clock.runFor(50);
    seen.push((await glance(page)).bytes);
  }
  assert.notDeepEqual(seen[1], seen[0]);
  assert.notDeepEqual(seen[2], seen[1]);
  await page.mouse.down();
  await page.clock.runFor(50);
  const stopped = await glance(page);
  await page.clock.runFor(200);
  assert.deepEqual((await glance(page)).bytes, stopped.bytes);
  await page.mouse.up();
});

test("with reduced motion it stays where it was let go", async () => {
  const page = await canvas.open();
  await showRelief(page);
  await drawn(page);
  await drag(page, [60, 0], { slowly: false });
  const first = await look(page);
  assert.deepEqual((await look(page)).bytes, first.bytes);
});

test("levels and strokes change its shape", async () => {
  const page = await canvas.open();
  await showRelief(page);
  const before = await look(page);
  await page.evaluate(() => window.studio.show({ levels: { near: 100, far: 0, gamma: 3, invert: false } }));
  const bent = await look(page);
  assert.notDeepEqual(bent.bytes, before.bytes);
  await page.evaluate(() => {
    const painting = window.studio.shown.depth!;
    const brush = { tool: "set", size: 20, hardness: 1, strength: 1, value: 1 } as const;
    painting.begin(brush, { x: 20, y: 20, pressure: 1 });
    painting.end();
  });
  assert.notDeepEqual((await look(page)).bytes, bent.bytes);
});

test("a map without a photo is shown as clay", async () => {
  const page = await canvas.open();
  await showRelief(page, { photo: null });
  const [r, g, b] = (await look(page)).at(inset + 200, inset + 150);
  assert.ok(r > 60 && r >= g && g >= b && r - b < 40, `${r} ${g} ${b}`);
});
