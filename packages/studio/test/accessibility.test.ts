import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import type axe from "axe-core";
import type { Page } from "playwright-core";
import {
  beginWith,
  cancel,
  endless,
  generate,
  inTheMiddle,
  makeItLast,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds in light and in dark, of any impact from moderate on. */
async function findings(page: Page): Promise<string[]> {
  await page.evaluate(axeSource);
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    found.push(...(await violations(page)).map((text) => `${colorScheme}: ${text}`));
  }
  return found;
}

const violations = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof axe }).axe.run();
    return violations
      .filter(({ impact }) => impact !== "minor")
      .flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
      );
  });

describe("axe finds nothing wrong with", () => {
  const studio = useStudio();

  // The content security policy of the page would keep axe out.
  const open = async (): Promise<Page> => {
    const page = await studio.open({ bypassCSP: true });
    // From light to dark colours would change gradually.
    await page.addStyleTag({ content: "*, ::before, ::after { transition: none !important }" });
    return page;
  };

  test("the empty page", async () => {
    const page = await open();
    await page.getByText("tiny-world · CPU").waitFor();
    assert.deepEqual(await findings(page), []);
  });

  test("a draft with all options unfolded", async () => {
    const page = await open();
    await beginWith(page, "Bust");
    await page.getByText("More options").click();
    await page.getByRole("checkbox", { name: "Change only a part" }).check();
    await page.getByText("Paint over the part").waitFor();
    assert.deepEqual(await findings(page), []);
  });

  test("a job on its way, and the queue", async () => {
    const page = await open();
    await beginWith(page, "Sculpture");
    await makeItLast(page, endless);
    await submit(page);
    await inTheMiddle(page);
    assert.deepEqual(await findings(page), []);
    await page.getByRole("button", { name: /^Queue/ }).click();
    await page.getByRole("heading", { name: "Workers" }).click();
    await page.getByRole("button", { name: "Take a break: local" }).waitFor();
    assert.deepEqual(await findings(page), []);
    await page.keyboard.press("Escape");
    await cancel(page);
    assert.deepEqual(await findings(page), []);
  });

  test("a result, compared with the photo", async () => {
    const page = await open();
    await beginWith(page, "Mountains");
    await setSteps(page, 1);
    await generate(page);
    await page.getByRole("button", { name: "Compare" }).click();
    await page.getByRole("button", { name: "Compare", pressed: true }).waitFor();
    assert.deepEqual(await findings(page), []);
  });
});
