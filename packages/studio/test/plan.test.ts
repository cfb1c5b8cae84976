import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import type { JobBody, PlanObject } from "@mflux-depth/server/contract";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import { beginWith, dropFile, useStudio } from "./support/studio-page.js";

/** Options of the request that decide what it costs. */
type Inputs = Readonly<Record<"image" | "mask_image" | "depth_image" | "image_strength", unknown>>;

describe("what an image will cost", () => {
  const studio = useStudio();

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
    const page = await studio.open();
    const plans = plansOf(page);
    const photo = await readFile(new URL("../../../../examples/images/coffee.jpg", import.meta.url));
    await dropFile(page, "coffee.jpg", photo, "image/jpeg");
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
