import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import type axe from "axe-core";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  cancel,
  finished,
  generate,
  inTheMiddle,
  makeItLast,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";

const studio = useStudio();

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
    await makeItLast(page, studio.server);
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

/** Presses Tab until an element has the focus. */
async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
  }
  assert.fail(`60 presses of Tab do not reach ${selector}`);
}

describe("with the keyboard alone", () => {
  test("an image is made from a sample scene", async () => {
    const page = await studio.open();
    await page.locator(".sample:enabled").first().waitFor();
    await tabTo(page, ".sample");
    await page.keyboard.press("Enter");
    await page.locator("#prompt").waitFor();
    await tabTo(page, "#prompt");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("a glossy red portrait, on sand");
    await tabTo(page, "#option-steps");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Control+Enter");
    await finished(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.request.prompt, "a glossy red portrait, on sand");
    assert.equal(job!.request.steps, 2);
  });

  test("views change with figures, C compares and Space shows the photo while it is held", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await page.keyboard.press("Control+Enter");
    await finished(page);
    await page.locator(".stage").focus();
    for (const [key, view] of [
      ["1", "Photo"],
      ["2", "Depth"],
      ["3", "Relief"],
      ["4", "Result"],
    ] as const) {
      await page.keyboard.press(key);
      await page.getByRole("button", { name: view, pressed: true }).waitFor();
    }
    await page.keyboard.press("c");
    await page.getByRole("button", { name: "Compare", pressed: true }).waitFor();
    await page.keyboard.press("c");
    await page.getByRole("button", { name: "Compare", pressed: false }).waitFor();
    const pixels = (): Promise<string> =>
      page
        .locator(".stage")
        .screenshot()
        .then((image) => image.toString("base64"));
    const result = await pixels();
    await page.keyboard.down(" ");
    await page.getByRole("button", { name: "Result", pressed: false }).waitFor();
    await becomes(false, async () => (await pixels()) === result);
    await page.keyboard.up(" ");
    await page.getByRole("button", { name: "Result", pressed: true }).waitFor();
  });

  test("Space presses a switch", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    const invert = page.getByRole("checkbox", { name: "Invert" });
    await invert.focus();
    await page.keyboard.press(" ");
    await becomes(true, () => invert.isChecked());
  });

  test("the list of keys opens with a question mark and closes with Escape", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
  });
});
