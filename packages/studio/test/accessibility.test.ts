import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import type axe from "axe-core";
import type { Page } from "playwright-core";
import { beginWith, finished, generate, generateButton, setSteps, useStudio } from "./support/studio-page.js";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds, of any impact from moderate on. */
async function findings(page: Page): Promise<string[]> {
  await page.evaluate(axeSource);
  return page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof axe }).axe.run();
    return violations
      .filter(({ impact }) => impact !== "minor")
      .flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
      );
  });
}

for (const colorScheme of ["light", "dark"] as const)
  describe(`axe finds nothing wrong in ${colorScheme} with`, () => {
    const studio = useStudio();

    // The content security policy of the page would keep axe out.
    const open = (): Promise<Page> => studio.open({ colorScheme, bypassCSP: true, reducedMotion: "reduce" });

    test("the empty page", async () => {
      const page = await open();
      await page.getByText("tiny-world · CPU").waitFor();
      assert.deepEqual(await findings(page), []);
    });

    test("a draft with all options unfolded", async () => {
      const page = await open();
      await beginWith(page, "Bust");
      await page.getByText("More options").click();
      assert.deepEqual(await findings(page), []);
    });

    test("a job on its way, and the queue", async () => {
      const page = await open();
      await beginWith(page, "Sculpture");
      await setSteps(page, 50);
      await generateButton(page).click();
      await page.getByText(/step \d+ of 50/).waitFor();
      assert.deepEqual(await findings(page), []);
      await page.getByRole("button", { name: /^Queue/ }).click();
      await page.getByRole("heading", { name: "Workers" }).waitFor();
      assert.deepEqual(await findings(page), []);
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByText("Stopped before it was finished").first().waitFor();
      assert.deepEqual(await findings(page), []);
    });

    test("a result, compared with the photo", async () => {
      const page = await open();
      await beginWith(page, "Mountains");
      await setSteps(page, 2);
      await generate(page);
      await finished(page);
      await page.getByRole("button", { name: "Compare" }).click();
      assert.deepEqual(await findings(page), []);
    });
  });
