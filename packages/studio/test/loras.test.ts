import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { becomes } from "./support/patience.js";
import { beginWith, generate, setSteps, useStudio } from "./support/studio-page.js";

const adapter = fileURLToPath(
  new URL("../../../mflux-depth/test/golden/adapters/diffusers.safetensors", import.meta.url),
);

describe("a LoRA that the server offers", () => {
  const studio = useStudio({ flags: ["--allow-model", `ink=${adapter}`] });

  test("is chosen with a strength, used, kept over a reload and left out again", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    const unfold = () => page.getByText("More options").click();
    await unfold();
    // It is no model that an image could be made with.
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
