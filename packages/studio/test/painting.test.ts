import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import { beginWith, finished, generate, generateButton, setSteps, useStudio } from "./support/studio-page.js";

describe("a painted map", () => {
  const studio = useStudio();

  /** Pulls the middle of the picture nearer. */
  async function paint(page: Page): Promise<void> {
    await page
      .getByRole("button", { name: "Nearer" })
      .or(page.getByRole("radio", { name: "Nearer" }))
      .click();
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 60, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 8 });
    await page.mouse.up();
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
    // The strokes take their time to be read.
    await page.addInitScript(() => {
      const get = IDBObjectStore.prototype.get;
      IDBObjectStore.prototype.get = function (name) {
        const request = get.call(this, name);
        if (!String(name).startsWith("painting:")) return request;
        const late = new EventTarget() as EventTarget & Partial<IDBRequest>;
        request.onsuccess = () => setTimeout(() => late.onsuccess?.call(request, new Event("success")), 1500);
        return Object.defineProperty(late, "result", { get: () => request.result }) as IDBRequest;
      };
    });
    await page.reload();
    await generateButton(page).click();
    await finished(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.request.trust_depth, true);
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
