import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import sharp from "sharp";
import { becomes } from "./support/patience.js";
import { beginWith, dropFile, generate, setSteps, useStudio } from "./support/studio-page.js";

const studio = useStudio();

describe("a painted map", () => {
  /** Draws across the middle of the picture. */
  async function stroke(page: Page): Promise<void> {
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 60, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 3 });
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

describe("a mask", () => {
  const toggle = (page: Page) => page.getByRole("checkbox", { name: "Change only a part" });

  /** Paints across the middle of the photo. */
  async function paint(page: Page): Promise<void> {
    await page.getByRole("button", { name: "Photo", pressed: true }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("button", { name: "Swap the parts" }).waitFor();
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 60, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 3 });
    await page.mouse.up();
    await page.getByText("The part in colour may change").waitFor();
  }

  /** The grey values of a picture of the server, with its size. */
  async function greys(url: string) {
    const bytes = await (await fetch(studio.server.url + url)).arrayBuffer();
    const { data, info } = await sharp(Buffer.from(bytes))
      .toColourspace("b-w")
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { ...info, at: (x: number, y: number): number => data[(y * info.width + x) * info.channels]! };
  }

  test("is painted on the photo, goes with the job and keeps what was not painted", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await toggle(page).check();
    await page.getByText("Paint over the part").waitFor();
    await page.getByRole("button", { name: "Generate" }).and(page.locator(":disabled")).waitFor();
    await paint(page);
    await generate(page);
    const [job] = await studio.server.jobs();
    const { blob } = job!.request.mask_image as { blob: string };
    const mask = await greys(`/v1/blobs/${blob}`);
    assert.deepEqual([mask.at(mask.width / 2, mask.height / 2), mask.at(4, 4)], [255, 0]);
    const photo = await greys(`/v1/blobs/${(job!.request.image as { blob: string }).blob}`);
    assert.deepEqual([mask.width, mask.height], [photo.width, photo.height]);
    // Resizing to the image's size alone changes what is kept.
    const image = await greys(job!.image!.url);
    const [x, y] = [0.02, 0.02].map((share) => Math.round(share * image.width)) as [number, number];
    const scale = photo.width / image.width;
    assert.ok(Math.abs(image.at(x, y) - photo.at(Math.round(x * scale), Math.round(y * scale))) < 12);
  });

  test("is kept over a reload, comes back with a job, and is left out when it is switched off", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await setSteps(page, 1);
    await toggle(page).check();
    await paint(page);
    await page.reload();
    await page.getByText("The part in colour may change").waitFor();
    await generate(page);
    const [using] = await studio.server.jobs();
    await page.getByRole("button", { name: "Keep editing" }).click();
    await toggle(page).uncheck();
    await generate(page);
    const [without] = await studio.server.jobs();
    assert.notEqual(using!.request.mask_image, null);
    assert.equal(without!.request.mask_image, null);
    await page.locator(".frame").nth(1).click();
    await page.getByRole("button", { name: "Reuse" }).click();
    await page.getByRole("menuitem", { name: "All settings" }).click();
    await page.getByText("The part in colour may change").waitFor();
    await becomes(true, () => toggle(page).isChecked());
  });

  test("is cropped with the photo", async () => {
    const page = await studio.open();
    const photo = await sharp({ create: { width: 300, height: 200, channels: 3, background: "#c80" } })
      .composite([
        { input: Buffer.from('<svg width="300" height="200"><circle cx="150" cy="100" r="60"/></svg>') },
      ])
      .jpeg()
      .toBuffer();
    await dropFile(page, "ball.jpg", photo, "image/jpeg");
    await page.getByText("Treated as a photo.").waitFor();
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a red ball, on sand");
    await setSteps(page, 1);
    await page.getByRole("combobox", { name: "Size" }).selectOption("1:1");
    await toggle(page).check();
    await paint(page);
    await generate(page);
    const [job] = await studio.server.jobs();
    const sizeOf = async (name: string): Promise<number[]> => {
      const { width, height } = await greys(`/v1/blobs/${(job!.request[name] as { blob: string }).blob}`);
      return [width, height];
    };
    assert.deepEqual(await sizeOf("mask_image"), await sizeOf("image"));
    assert.equal(job!.state, "succeeded");
  });
});
