import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Levels } from "../../../src/canvas/field/levels.js";
import { drawn, showScene, useCanvas } from "../support/canvas-page.js";

const canvas = useCanvas();

/** The size of a page that has room for all panels. */
const size = { width: 700, height: 760 };

const levelsOf = (page: Page): Promise<Levels> => page.evaluate(() => window.studio.shown.levels);

async function open(): Promise<Page> {
  const page = await canvas.open();
  await page.setViewportSize(size);
  await showScene(page);
  await page.evaluate(() => {
    window.studio.show({ depth: window.studio.painting(400, 300, (x) => x / 399) });
  });
  await drawn(page);
  return page;
}

const handle = (page: Page, name: string) => page.getByRole("slider", { name, exact: true });

/** Drags a handle by CSS pixels. */
async function drag(page: Page, name: string, by: number): Promise<void> {
  const { x, y, width, height } = (await handle(page, name).boundingBox())!;
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 2 + by, y + height / 2, { steps: 5 });
  assert.equal(await page.evaluate(() => window.studio.shown.clipping), name !== "Gamma");
  await page.mouse.up();
  assert.equal(await page.evaluate(() => window.studio.shown.clipping), false);
}

test("dragging the handles changes near, far and gamma, and hatches meanwhile", async () => {
  const page = await open();
  const width = (await page.locator(".histogram-plot").boundingBox())!.width;
  await drag(page, "Near", -width / 4);
  assert.ok(Math.abs((await levelsOf(page)).near - 75) < 1);
  await drag(page, "Far", width / 4);
  assert.ok(Math.abs((await levelsOf(page)).far - 25) < 1);
  await drag(page, "Gamma", -width / 8);
  assert.ok(Math.abs((await levelsOf(page)).gamma - 2) < 0.1);
});

test("arrow keys move a handle, Delete and a double click bring it back", async () => {
  const page = await open();
  await handle(page, "Far").press("ArrowRight");
  assert.equal((await levelsOf(page)).far, 0.5);
  await handle(page, "Far").press("Shift+ArrowRight");
  assert.equal((await levelsOf(page)).far, 5.5);
  await handle(page, "Far").press("Delete");
  assert.equal((await levelsOf(page)).far, 0);
  await handle(page, "Near").press("PageDown");
  assert.equal((await levelsOf(page)).near, 90);
  await handle(page, "Near").dblclick();
  assert.equal((await levelsOf(page)).near, 100);
});

test("the arrow keys move the handle of gamma the way they point", async () => {
  const page = await open();
  const before = (await handle(page, "Gamma").boundingBox())!.x;
  await handle(page, "Gamma").press("Shift+ArrowRight");
  await drawn(page);
  assert.ok((await handle(page, "Gamma").boundingBox())!.x > before);
});

test("values are typed, with a point or a comma; Escape brings the old one back", async () => {
  const page = await open();
  const near = page.getByRole("spinbutton", { name: "Near" });
  await near.fill("97,5");
  await near.press("Enter");
  assert.equal((await levelsOf(page)).near, 97.5);
  await near.fill("80");
  await near.press("Escape");
  assert.equal(await near.inputValue(), "97.5 %");
  await page.getByRole("spinbutton", { name: "Gamma" }).fill("1.8");
  await near.focus();
  assert.equal((await levelsOf(page)).gamma, 1.8);
});

test("text that is no number is marked and changes nothing", async () => {
  const page = await open();
  const near = page.getByRole("spinbutton", { name: "Near" });
  await near.fill("white");
  assert.equal(await near.getAttribute("aria-invalid"), "true");
  await near.blur();
  assert.equal((await levelsOf(page)).near, 100);
  assert.equal(await near.inputValue(), "100 %");
});

test("near does not pass far", async () => {
  const page = await open();
  await page.evaluate(() => window.studio.show({ levels: { near: 100, far: 40, gamma: 1, invert: false } }));
  const near = page.getByRole("spinbutton", { name: "Near" });
  await near.fill("20");
  await near.press("Enter");
  assert.deepEqual(await levelsOf(page), { near: 100, far: 40, gamma: 1, invert: false });
});

test("percentiles at the same depth are pointed out", async () => {
  const page = await open();
  await page.evaluate(() => {
    window.studio.show({
      depth: window.studio.painting(100, 100, (x) => (x < 90 ? 0.5 : 0.7)),
      levels: { near: 60, far: 0, gamma: 1, invert: false },
    });
  });
  await page.getByText("move them apart").waitFor();
});

test("invert and reset", async () => {
  const page = await open();
  await page.getByLabel("Invert").check();
  assert.equal((await levelsOf(page)).invert, true);
  await page.getByRole("button", { name: "Reset levels" }).click();
  assert.deepEqual(await levelsOf(page), { near: 100, far: 0, gamma: 1, invert: false });
});

test("the histogram follows the brush", async () => {
  const page = await open();
  const area = page.locator(".histogram-area");
  const before = await area.getAttribute("d");
  await page.evaluate(() => {
    const painting = window.studio.shown.depth!;
    painting.begin(
      { tool: "set", size: 200, hardness: 1, strength: 1, value: 1 },
      { x: 100, y: 100, pressure: 1 },
    );
  });
  await drawn(page);
  assert.notEqual(await area.getAttribute("d"), before);
});

test("the brushes are chosen, sized and undone in their panel", async () => {
  const page = await open();
  await page.getByRole("button", { name: "Smooth" }).click();
  const brush = () => page.evaluate(() => window.studio.shown.brush);
  assert.equal((await brush())!.tool, "smooth");
  const size = page.getByRole("spinbutton", { name: "Size" });
  await size.fill("64");
  await size.press("Enter");
  assert.equal((await brush())!.size, 64);
  await page.getByRole("slider", { name: "Hardness" }).press("End");
  assert.equal((await brush())!.hardness, 1);
  const undo = page.getByRole("button", { name: "Undo" });
  assert.equal(await undo.isDisabled(), true);
  await page.evaluate(() => {
    const painting = window.studio.shown.depth!;
    painting.begin(window.studio.shown.brush!, { x: 100, y: 100, pressure: 1 });
    painting.end();
  });
  await undo.click();
  await page.getByRole("button", { name: "Redo" }).click();
  await page.getByRole("button", { name: "Move" }).click();
  assert.equal(await brush(), null);
  await page.getByRole("button", { name: "Farther" }).click();
  assert.deepEqual(
    { ...(await brush()), strength: 0 },
    { tool: "lower", size: 64, hardness: 1, strength: 0, value: 0.5 },
  );
});

for (const colorScheme of ["light", "dark"] as const)
  test(`axe finds nothing serious in the canvas and its panels, ${colorScheme}`, async () => {
    const page = await canvas.open({ viewport: size, colorScheme });
    await showScene(page, {
      brush: { tool: "set", size: 40, hardness: 0.5, strength: 0.5, value: 0.5 },
      compare: { with: "photo", mode: "slider" },
      levels: { near: 90, far: 5, gamma: 1.2, invert: false },
    });
    await drawn(page);
    await page.addScriptTag({ path: createRequire(import.meta.url).resolve("axe-core") });
    const found = await page.evaluate(async () => {
      const { violations } = await (
        window as unknown as {
          axe: {
            run(): Promise<{ violations: { impact: string; id: string; nodes: { html: string }[] }[] }>;
          };
        }
      ).axe.run();
      return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    });
    assert.deepEqual(found, []);
  });
