import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Page } from "playwright-core";
import sharp from "sharp";
import { becomes } from "./support/patience.js";
import { beginWith, dropFile, generate, setSteps, useStudio } from "./support/studio-page.js";

describe("a mask", () => {
  const studio = useStudio();

  const toggle = (page: Page) => page.getByRole("checkbox", { name: "Change only a part" });

  /** Paints across the middle of the photo. */
  async function paint(page: Page): Promise<void> {
    await page.getByRole("button", { name: "Photo", pressed: true }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("button", { name: "Swap the parts" }).waitFor();
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 60, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 60, y + height / 2, { steps: 8 });
    await page.mouse.up();
    await page.getByText("What is in colour may change").waitFor();
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
    await setSteps(page, 2);
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
    await page.getByText("What is in colour may change").waitFor();
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
    await page.getByText("What is in colour may change").waitFor();
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
    await page.getByText("Taken for a photo.").waitFor();
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
