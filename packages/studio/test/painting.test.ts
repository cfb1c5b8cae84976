import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import { beginWith, generate, setSteps, useStudio } from "./support/studio-page.js";

describe("a painted map", () => {
  const studio = useStudio();

  /** Draws across the middle of the picture. */
  async function stroke(page: Page): Promise<void> {
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 60, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 8 });
    await page.mouse.up();
  }

  /** Pulls the middle of the picture nearer. */
  async function paint(page: Page): Promise<void> {
    await page.getByRole("button", { name: "Nearer" }).click();
    await stroke(page);
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor();
  }

  test("goes to the server in 16 bits, with neutral levels", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await paint(page);
    await generate(page);
    const [job] = await studio.server.jobs();
    const { depth_near, depth_far, depth_gamma, invert_depth, trust_depth } = job!.request;
    assert.deepEqual(
      [depth_near, depth_far, depth_gamma, invert_depth, trust_depth],
      [100, 0, 1, false, true],
    );
    const { blob } = job!.request.depth_image as { blob: string };
    const png = new Uint8Array(await (await fetch(`${studio.server.url}/v1/blobs/${blob}`)).arrayBuffer());
    const [bits, colourType] = [png[24], png[25]];
    assert.deepEqual([bits, colourType], [16, 0]);
  });

  test("goes to the server although the page has only just been opened again", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await paint(page);
    // The strokes cannot be read before the click.
    await page.addInitScript(() => {
      const { open } = IDBFactory.prototype;
      IDBFactory.prototype.open = function (...given) {
        const request = open.apply(this, given);
        const hold = (event: Event): void => {
          event.stopImmediatePropagation();
          const release = () => request.dispatchEvent(new Event("success"));
          window.addEventListener("click", release, { once: true });
        };
        request.addEventListener("success", hold, { once: true });
        return request;
      };
    });
    await page.reload();
    await generate(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.request.trust_depth, true);
  });

  test("is kept although the page is left as soon as the stroke ends", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await page.getByRole("button", { name: "Nearer" }).click();
    await page.evaluate(() => window.addEventListener("pointerup", () => location.reload(), { once: true }));
    const reloaded = page.waitForEvent("load");
    await stroke(page);
    await reloaded;
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor();
  });

  test("outlives what another tab does", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await paint(page);
    const other = await studio.openTab(page);
    await other.getByRole("button", { name: "New" }).click();
    await beginWith(other, "Mountains");
    await page.reload();
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor();
  });

  test("is kept while the prompt is typed and over a reload, until its strokes are removed", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await paint(page);
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a tower of clay");
    await page.getByRole("button", { name: "Undo" }).and(page.locator(":enabled")).waitFor();
    await page.reload();
    const remove = page.getByRole("button", { name: "Remove all strokes" });
    await remove.click();
    await remove.waitFor({ state: "hidden" });
    await page.reload();
    await page.getByRole("button", { name: "Relief" }).and(page.locator(":enabled")).waitFor();
    assert.equal(await remove.count(), 0);
  });
});
