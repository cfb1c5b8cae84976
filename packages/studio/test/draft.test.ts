import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { JobBody, PlanObject } from "@mflux-depth/server/contract";
import type { Page } from "playwright-core";
import { parametersIn } from "../src/parameters/index.js";
import { becomes } from "./support/patience.js";
import { beginWith, dropFile, generate, generateButton, setSteps, useStudio } from "./support/studio-page.js";

const adapter = fileURLToPath(
  new URL("../../../mflux-depth/test/golden/adapters/diffusers.safetensors", import.meta.url),
);

const studio = useStudio({ flags: ["--allow-model", `ink=${adapter}`] });

const example = (name: string): Promise<Buffer> =>
  readFile(new URL(`../../../../examples/images/${name}`, import.meta.url));

test("a size in numbers is rounded to what the server accepts", async () => {
  const page = await studio.open();
  await beginWith(page, "Bust");
  await page.locator("#size").selectOption("custom");
  const width = page.getByLabel("Width", { exact: true });
  for (const [typed, taken] of [
    ["100", "96"],
    ["3", "16"],
    ["5000", "4096"],
  ] as const) {
    await width.fill(typed);
    await width.blur();
    assert.equal(await width.inputValue(), taken);
  }
});

describe("the first image", () => {
  test("is two clicks away from a sample scene", async () => {
    const page = await studio.open({ automaticSize: true });
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await generate(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.state, "succeeded");
    assert.equal(job!.request.width, 256);
    assert.match(String(job!.request.prompt), /gold portrait/);
  });

  test("asks no other origin, and comes with less than 200 kB of script", async () => {
    const page = await studio.open();
    const asked: string[] = [];
    const scripts: Promise<Buffer>[] = [];
    page.on("request", (request) => asked.push(request.url()));
    page.on("response", (response) => {
      if (response.request().resourceType() === "script") scripts.push(response.body());
    });
    await page.reload();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await generate(page);
    const others = asked.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(studio.server.url));
    assert.deepEqual(others, []);
    const sizes = (await Promise.all(scripts)).map((script) => gzipSync(script).length);
    assert.ok(sizes.length > 0);
    const total = sizes.reduce((sum, size) => sum + size);
    assert.ok(total < 200_000, `${total} bytes`);
  });

  test("is downloaded with its parameters inside", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await setSteps(page, 2);
    await generate(page);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download" }).click(),
    ]);
    assert.match(download.suggestedFilename(), /^an-abstract-sculpture-in-glossy-teal-\d+\.png$/);
    const parameters = parametersIn(new Uint8Array(await readFile(await download.path())));
    assert.equal(parameters!.steps, 2);
  });
});

describe("a picture", () => {
  test("is taken for the photo that it is, and its depth is found", async () => {
    const page = await studio.open({ automaticSize: true });
    await dropFile(page, "coffee.jpg", await example("coffee.jpg"), "image/jpeg");
    await page.getByText("Treated as a photo.").waitFor();
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
    await page.getByText("Treated as a depth map.").waitFor();
    await page.locator(".source").getByText("Depth map").waitFor();
    await page.getByRole("button", { name: "It is a photo." }).click();
    await page.getByText("Treated as a photo.").waitFor();
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
    await page.getByText("Treated as a photo.").waitFor();
  });

  test("that no browser reads is refused with advice", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    await dropFile(page, "photo.heic", Buffer.from("neither fish nor fowl"), "image/heic");
    await page.getByRole("alert").filter({ hasText: "save HEIC as JPEG first" }).waitFor();
  });

  test("is cropped rather than stretched, with its depth", async () => {
    const page = await studio.open({ automaticSize: true });
    await dropFile(page, "coffee.jpg", await example("coffee.jpg"), "image/jpeg");
    await page.getByRole("button", { name: "Relief" }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("combobox", { name: "Size" }).selectOption("1:1");
    await page.getByText("the dimmed part is cut off").waitFor();
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
    await page.getByText("Treated as a photo.").waitFor();
    await dropFile(page, "room_depth.png", await example("room_depth.png"));
    await page.getByText("Treated as a depth map.").waitFor();
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

/** Options of the request that decide what it costs. */
type Inputs = Readonly<Record<"image" | "mask_image" | "depth_image" | "image_strength", unknown>>;

describe("what an image will cost", () => {
  /** Every plan that the page has asked for, with its answer once that is there. */
  function plansOf(page: Page): { readonly inputs: Inputs; plan: PlanObject | null }[] {
    const plans: { readonly inputs: Inputs; plan: PlanObject | null }[] = [];
    page.on("request", async (request) => {
      if (new URL(request.url()).pathname !== "/v1/plan") return;
      const { request: inputs } = request.postDataJSON() as JobBody;
      const asked = { inputs: inputs as unknown as Inputs, plan: null as PlanObject | null };
      plans.push(asked);
      // An answer that the page no longer waits for has no body.
      const response = await request.response().catch(() => null);
      asked.plan = ((await response?.json().catch(() => null)) ?? null) as PlanObject | null;
    });
    return plans;
  }

  const paint = async (page: Page): Promise<void> => {
    const { x, y, width, height } = (await page.locator(".stage").boundingBox())!;
    await page.mouse.move(x + width / 2 - 40, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 40, y + height / 2, { steps: 4 });
    await page.mouse.up();
  };

  test("is asked with the photo, what is kept of it, and the mask, and shown as the server answers", async () => {
    const page = await studio.open();
    const plans = plansOf(page);
    /** Waits for the answer to the newest question, and for the page to show it. */
    const settled = async (isAsked: (inputs: Inputs) => boolean): Promise<PlanObject> => {
      await becomes(true, async () => {
        const last = plans.at(-1);
        return last !== undefined && last.plan !== null && isAsked(last.inputs);
      });
      const plan = plans.at(-1)!.plan!;
      await page
        .locator("#cost")
        .getByText(`${Math.round(plan.peak_bytes / 1e6)} MB`)
        .waitFor();
      return plan;
    };
    const stages = (plan: PlanObject): string[] => plan.stages.map(({ stage }) => stage);

    await beginWith(page, "Bust");
    const plain = await settled(({ image, mask_image }) => image !== undefined && mask_image === undefined);
    assert.ok(!stages(plain).includes("image"), "nothing of the photo is kept");

    const keep = page.getByRole("spinbutton", { name: "Keep from photo" });
    await keep.fill("50");
    await keep.press("Enter");
    const kept = await settled(({ image_strength }) => image_strength === 0.5);
    assert.ok(stages(kept).includes("image"), "the photo is encoded");
    await keep.fill("0");
    await keep.press("Enter");
    await settled(({ image_strength }) => image_strength === 0);

    await page.getByRole("checkbox", { name: "Change only a part" }).check();
    await page.getByRole("button", { name: "Photo", pressed: true }).and(page.locator(":enabled")).waitFor();
    await page.getByRole("button", { name: "Swap the parts" }).waitFor();
    await paint(page);
    const masked = await settled(({ mask_image }) => mask_image !== undefined);
    assert.ok(stages(masked).includes("image"), "a mask needs the photo's latents");
    assert.ok(masked.estimated_seconds === null || masked.estimated_seconds >= plain.estimated_seconds!);
  });

  test("counts the estimate of a photo's depth until the depth is painted", async () => {
    const page = await studio.open({ automaticSize: true });
    const plans = plansOf(page);
    await dropFile(page, "coffee.jpg", await example("coffee.jpg"), "image/jpeg");
    await page
      .getByRole("button", { name: "Depth", pressed: true })
      .and(page.locator(":enabled"))
      .first()
      .waitFor();
    const lastStages = async (): Promise<boolean | null> =>
      plans.at(-1)?.plan?.stages.some(({ stage }) => stage === "depth") ?? null;
    await becomes(true, lastStages);
    await page.getByRole("button", { name: "Nearer" }).click();
    await paint(page);
    await page.getByRole("button", { name: "Remove all strokes" }).waitFor();
    await becomes(false, lastStages);
  });
});

describe("a LoRA that the server offers", () => {
  test("is chosen with a strength, used, kept over a reload and left out again", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    const unfold = () => page.getByText("More options").click();
    await unfold();
    // No image can be made with it.
    assert.equal(await page.getByRole("combobox", { name: "Model" }).count(), 0);
    const chosen = page.getByRole("group", { name: "LoRAs" }).getByRole("checkbox", { name: "ink" });
    await chosen.check();
    const strength = page.getByRole("spinbutton", { name: "Strength of ink" });
    await strength.fill("0.75");
    await strength.press("Enter");
    await generate(page);
    await page.reload();
    await unfold();
    await becomes("0.75", () => strength.inputValue());
    await chosen.uncheck();
    await strength.waitFor({ state: "hidden" });
    await generate(page);
    const [without, using] = await studio.server.jobs();
    assert.deepEqual(using!.load.loras, [{ source: "ink", scale: 0.75 }]);
    assert.deepEqual(without!.load.loras, []);
  });
});
