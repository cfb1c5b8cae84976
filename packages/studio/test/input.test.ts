import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { beginWith, dropFile, generate, generateButton, setSteps, useStudio } from "./support/studio-page.js";

const example = (name: string): Promise<Buffer> =>
  readFile(new URL(`../../../../examples/images/${name}`, import.meta.url));

const studio = useStudio();

describe("a picture", () => {
  test("is taken for the photo that it is, and its depth is found", async () => {
    const page = await studio.open();
    await dropFile(page, "coffee.jpg", await example("coffee.jpg"), "image/jpeg");
    await page.getByText("Taken for a photo.").waitFor();
    await page.getByRole("button", { name: "Relief" }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a glossy red cylinder, on snow");
    await setSteps(page, 1);
    await generate(page);
    const [job] = await studio.server.jobs();
    // 600 × 400, at the bundled model's usual area.
    assert.deepEqual([job!.request.width, job!.request.height], [320, 208]);
    assert.equal(job!.request.depth_image, null);
  });

  test("is taken for the depth map that it is, and the person can say otherwise", async () => {
    const page = await studio.open();
    await dropFile(page, "room_depth.png", await example("room_depth.png"));
    await page.getByText("Taken for a depth map.").waitFor();
    await page.locator(".source").getByText("Depth map").waitFor();
    await page.getByRole("button", { name: "It is a photo." }).click();
    await page.getByText("Taken for a photo.").waitFor();
    await page.locator(".source").getByText("Photo").waitFor();
  });

  test("can be pasted", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    const base64 = (await example("chelsea.jpg")).toString("base64");
    await page.evaluate((content) => {
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
      data.items.add(new File([bytes], "chelsea.jpg", { type: "image/jpeg" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }, base64);
    await page.getByText("Taken for a photo.").waitFor();
  });

  test("that no browser reads is refused with advice", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    await dropFile(page, "photo.heic", Buffer.from("neither fish nor fowl"), "image/heic");
    await page.getByRole("alert").filter({ hasText: "save HEIC as JPEG first" }).waitFor();
  });

  test("is cropped rather than stretched, with its depth", async () => {
    const page = await studio.open();
    await dropFile(page, "coffee.jpg", await example("coffee.jpg"), "image/jpeg");
    await page.getByRole("button", { name: "Relief" }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("combobox", { name: "Size" }).selectOption("1:1");
    await page.getByText("what is dimmed is cut off").waitFor();
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a glossy red cylinder, on snow");
    await setSteps(page, 1);
    await generate(page);
    const [job] = await studio.server.jobs();
    assert.deepEqual([job!.request.width, job!.request.height], [256, 256]);
    const { blob } = job!.request.image as { blob: string };
    const photo = await fetch(`${studio.server.url}/v1/blobs/${blob}`);
    const sides = new DataView(await photo.arrayBuffer());
    assert.equal(sides.getUint32(16), sides.getUint32(20), "the photo that was sent is square");
    assert.equal(job!.request.trust_depth, true);
  });

  test("is none: the page says so, whatever the name of the file says", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    const refusal = page.getByRole("alert").filter({ hasText: "This browser cannot read the file" });
    await dropFile(page, "letter.png", Buffer.from("Dear reader"), "image/png");
    await refusal.waitFor();
    await refusal.getByRole("button", { name: "Close" }).click();
    await dropFile(page, "letter.txt", Buffer.from("Dear reader"), "text/plain");
    await refusal.waitFor();
  });

  test("that is a depth map taken for a photo joins the photo that was there when the person says what it is", async () => {
    const page = await studio.open();
    await dropFile(page, "room.png", await example("room.png"));
    await page.getByText("Taken for a photo.").waitFor();
    await dropFile(page, "room_depth.png", await example("room_depth.png"));
    await page.getByText("Taken for a depth map.").waitFor();
    // There and back again: the page forgets nothing on the way.
    await page.getByRole("button", { name: "It is a photo." }).click();
    await page.getByRole("button", { name: "It is a depth map." }).click();
    const sources = page.locator(".source");
    await sources.getByText("Depth map").waitFor();
    await sources.getByText("Photo", { exact: true }).waitFor();
  });
});

describe("a prompt", () => {
  test("that is too long is kept as it was pasted, and the page says by how much", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    const prompt = page.getByRole("textbox", { name: "Describe the look" });
    await prompt.evaluate((field: HTMLTextAreaElement) => field.select());
    await page.keyboard.insertText("word ".repeat(1000).trim());
    assert.equal((await prompt.inputValue()).length, 4999);
    await page.getByText("999 characters too many.").waitFor();
    await generateButton(page).and(page.locator(":disabled")).waitFor();
    await prompt.fill("a marble owl");
    await page.getByText("characters too many.").waitFor({ state: "hidden" });
    await generateButton(page).and(page.locator(":enabled")).waitFor();
  });
});
