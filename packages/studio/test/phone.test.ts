import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import { beginWith, finished, generateButton, useStudio } from "./support/studio-page.js";

describe("on a phone", () => {
  const studio = useStudio();

  const openPhone = (): Promise<Page> =>
    studio.open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

  test("nothing is wider than the screen, and what is touched is 44 pixels high", async () => {
    const page = await openPhone();
    await beginWith(page, "Bust");
    for (const panel of ["Depth", "Look", "History"]) {
      const tab = page.getByRole("navigation").getByRole("button", { name: panel });
      if ((await tab.getAttribute("aria-pressed")) !== "true") await tab.tap();
      await tab.and(page.locator("[aria-pressed=true]")).waitFor();
      const small = await page.evaluate(() => {
        const seen = [...document.querySelectorAll("button, select, input, summary")].filter((element) =>
          element.checkVisibility(),
        );
        return {
          width: document.documentElement.scrollWidth,
          low: seen
            .filter((element) => {
              // A checkbox is touched with its label.
              const target = element.closest("label") ?? element;
              const { height } = target.getBoundingClientRect();
              return height > 0 && height < 43.5;
            })
            .map((element) => element.outerHTML.slice(0, 120)),
        };
      });
      assert.equal(small.width, 360);
      assert.deepEqual(small.low, [], panel);
    }
  });

  test("an image is made with the thumb, and the sheet makes room for it", async () => {
    const page = await openPhone();
    await beginWith(page, "Sculpture");
    const steps = page.getByRole("spinbutton", { name: "Steps" });
    await steps.fill("2");
    await steps.press("Enter");
    await generateButton(page).tap();
    await finished(page);
    await page.getByRole("textbox", { name: "Describe the look" }).waitFor({ state: "hidden" });
    await becomes(true, async () => (await page.locator(".canvas-stage").boundingBox())!.height > 300);
  });
});
