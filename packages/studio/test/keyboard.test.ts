import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import { beginWith, finished, setSteps, useStudio } from "./support/studio-page.js";

/** Presses Tab until an element has the focus. */
async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
  }
  assert.fail(`60 presses of Tab do not reach ${selector}`);
}

describe("with the keyboard alone", () => {
  const studio = useStudio();

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
    await setSteps(page, 2);
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
