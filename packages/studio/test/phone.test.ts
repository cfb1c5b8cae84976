import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  cancel,
  finished,
  generateButton,
  inTheMiddle,
  makeItLast,
  makeSculpture,
  openSculpture,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";
import { swipe } from "./support/touch.js";

describe("on a phone", () => {
  const studio = useStudio();

  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
  const openPhone = (): Promise<Page> => studio.open(phone);

  const tab = (page: Page, name: string) => page.getByRole("navigation").getByRole("button", { name });

  /** Opens a panel of the sheet, unless it is open. */
  async function openPanel(page: Page, name: "Depth" | "Look" | "History"): Promise<void> {
    if ((await tab(page, name).getAttribute("aria-pressed")) !== "true") await tab(page, name).tap();
    await tab(page, name).and(page.locator("[aria-pressed=true]")).waitFor();
  }

  before(() => makeSculpture(studio));

  /** What is wider than the screen, less than 44 pixels high, or lies over another thing that is touched. */
  const misfits = (page: Page): Promise<string[]> =>
    page.evaluate(() => {
      const wide = document.documentElement.scrollWidth > innerWidth ? ["the page is too wide"] : [];
      const place = document.querySelector("dialog[open]") ?? document;
      const targets = [...place.querySelectorAll("button, a, select, input, summary")]
        // A checkbox is touched with its label.
        .map((element) => element.closest("label") ?? element)
        .filter((element) => element.checkVisibility() && element.getBoundingClientRect().height > 0);
      const words = (element: Element): string => element.outerHTML.slice(0, 120);
      const low = targets.filter((element) => element.getBoundingClientRect().height < 43.5);
      // What scrolls out of view is cut off there, and does not lie over anything.
      const still = targets.filter((element) => !element.closest(".panel, .result-actions, .film, .dialog"));
      const covered = still.filter((element, i) => {
        const a = element.getBoundingClientRect();
        return still.some((other, j) => {
          const b = other.getBoundingClientRect();
          const apart =
            a.right < b.left + 1 || b.right < a.left + 1 || a.bottom < b.top + 1 || b.bottom < a.top + 1;
          return j > i && !apart && !element.contains(other) && !other.contains(element);
        });
      });
      return [
        ...wide,
        ...low.map((element) => `low: ${words(element)}`),
        ...covered.map((element) => `covered: ${words(element)}`),
      ];
    });

  test("nothing is wider than the screen, and what is touched is 44 pixels high", async () => {
    const page = await openPhone();
    await beginWith(page, "Bust");
    for (const panel of ["Depth", "Look", "History"] as const) {
      await openPanel(page, panel);
      assert.deepEqual(await misfits(page), [], panel);
    }
    await openPanel(page, "Look");
    await makeItLast(page, studio.server);
    await submit(page);
    await inTheMiddle(page);
    assert.deepEqual(await misfits(page), [], "progress");
    await page.getByRole("button", { name: /^Queue/ }).tap();
    const dialog = page.getByRole("dialog", { name: "Queue" });
    await dialog.getByRole("heading", { name: "Workers" }).tap();
    await dialog.getByRole("button", { name: "Take a break: local" }).waitFor();
    assert.deepEqual(await misfits(page), [], "queue");
    await dialog.getByRole("button", { name: "Close" }).tap();
    await cancel(page);
    assert.deepEqual(await misfits(page), [], "a job that was cancelled");
  });

  test("an image is made with the thumb, and the sheet makes room for it", async () => {
    const page = await openPhone();
    await beginWith(page, "Sculpture");
    await setSteps(page, 1);
    await generateButton(page).tap();
    await finished(page);
    await page.getByRole("textbox", { name: "Describe the look" }).waitFor({ state: "hidden" });
    await becomes(true, async () => (await page.locator(".canvas-stage").boundingBox())!.height > 300);
  });

  test("the sheet stays as the person left it while a job goes on", async () => {
    const page = await openPhone();
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server);
    const id = await submit(page);
    await inTheMiddle(page);
    await openPanel(page, "Look");
    const step = async (): Promise<number> =>
      (await studio.server.ask<{ step: number }>(`/v1/jobs/${id}`)).step;
    const before = await step();
    await becomes(true, async () => (await step()) > before + 1);
    await page.getByText(new RegExp(`step (?!${before} )\\d+ of 50`)).waitFor();
    assert.equal(await tab(page, "Look").getAttribute("aria-pressed"), "true");
    await tab(page, "Look").tap();
    await cancel(page);
  });

  test("a result is compared with its photo or its depth, by slider or side by side", async () => {
    const page = await openSculpture(studio, phone);
    await page.getByRole("button", { name: "Relief" }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("button", { name: "Compare", exact: true }).tap();
    const left = page.locator(".stage-label-left");
    await left.getByText("Photo").waitFor();
    const bases = page.getByRole("group", { name: "Compare with" });
    await bases.getByRole("button", { name: "Depth" }).tap();
    await left.getByText("Depth").waitFor();
    await page.getByRole("slider", { name: "Slider between the two pictures" }).waitFor();
    await page.getByRole("button", { name: "Side by side" }).tap();
    await page.getByRole("slider", { name: "Slider between the two pictures" }).waitFor({ state: "hidden" });
    await page.locator(".stage-label-right").getByText("Result").waitFor();
    assert.deepEqual(await misfits(page), []);
    // With a grid to return to, one more button is there.
    await page.getByRole("button", { name: "Vary" }).tap();
    await page.getByRole("button", { name: "All 4" }).waitFor();
    assert.deepEqual(await misfits(page), []);
  });

  /** Counts what the browser takes away from a finger to scroll or zoom with it. */
  const countCancelled = (page: Page) =>
    page.evaluate(() => {
      Object.assign(window, { cancelled: 0 });
      window.addEventListener("pointercancel", () => {
        (window as unknown as { cancelled: number }).cancelled++;
      });
    });

  const untouched = async (page: Page): Promise<void> =>
    assert.deepEqual(
      await page.evaluate(() => [
        (window as unknown as { cancelled: number }).cancelled,
        scrollY,
        visualViewport!.pageTop,
        visualViewport!.scale,
      ]),
      [0, 0, 0, 1],
    );

  test("a finger paints the depth, the page stays where it is, and the next tap counts at once", async () => {
    const page = await openPhone();
    await beginWith(page, "Bust");
    await openPanel(page, "Depth");
    await page.getByRole("button", { name: "Nearer" }).tap();
    await countCancelled(page);
    const farther = page.getByRole("button", { name: "Farther" });
    await farther.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await farther.boundingBox())!;
    await swipe(page, page.locator(".stage"), { x: 20, y: 60 });
    await page.touchscreen.tap(x + width / 2, y + height / 2);
    await farther.and(page.locator("[aria-pressed=true]")).waitFor();
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor();
    await page.getByRole("button", { name: "Undo" }).and(page.locator(":enabled")).tap();
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor({ state: "hidden" });
    await untouched(page);
  });

  test("a finger paints the mask, whose tools come into view", async () => {
    const page = await openPhone();
    await beginWith(page, "Bust");
    await openPanel(page, "Look");
    await page.getByRole("checkbox", { name: "Change only a part" }).tap();
    await page.getByRole("button", { name: "Photo", pressed: true }).and(page.locator(":enabled")).waitFor();
    const change = page.getByRole("button", { name: "Change", exact: true });
    await becomes(true, async () => {
      const [tool, panel] = await Promise.all([
        change.boundingBox(),
        page.locator(".look-panel").boundingBox(),
      ]);
      return tool !== null && tool.y >= panel!.y && tool.y + tool.height <= panel!.y + panel!.height;
    });
    await page.locator("#cost").getByText("First paint the part that may change.").waitFor();
    await countCancelled(page);
    await swipe(page, page.locator(".stage"), { x: 20, y: 60 });
    await page.getByText("The part in colour may change").waitFor();
    await generateButton(page).and(page.locator(":enabled")).waitFor();
    await untouched(page);
  });

  test("a picture is taken for what it is where the person can say otherwise", async () => {
    const page = await openSculpture(studio, phone);
    await page.getByRole("button", { name: "Use as photo" }).tap();
    await page.getByText("Treated as a photo.").waitFor();
    assert.equal(await tab(page, "Depth").getAttribute("aria-pressed"), "true");
  });
});
