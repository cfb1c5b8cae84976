import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { beginWith, finished, generateButton, setSteps, useStudio } from "./support/studio-page.js";

describe("a reload", () => {
  const studio = useStudio();

  test("in the middle of a job changes nothing: the job goes on and the page shows it", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 50);
    await generateButton(page).click();
    await page.getByText(/step \d+ of 50/).waitFor();
    await page.reload();
    await page.getByText(/step \d+ of 50/).waitFor();
    await finished(page);
    const jobs = await studio.server.jobs();
    assert.equal(jobs.length, 1);
    assert.equal(jobs[0]!.state, "succeeded");
  });

  test("keeps pictures, prompt, levels and options", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a tower of glass");
    await setSteps(page, 7);
    await page.getByRole("spinbutton", { name: "Seed" }).fill("42");
    const gamma = page.getByLabel("Gamma", { exact: true }).and(page.locator("input"));
    await gamma.fill("2");
    await gamma.press("Enter");
    await page.reload();
    await page.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
    assert.equal(
      await page.getByRole("textbox", { name: "Describe the look" }).inputValue(),
      "a tower of glass",
    );
    assert.equal(await page.getByRole("spinbutton", { name: "Steps" }).inputValue(), "7");
    assert.equal(await page.getByRole("spinbutton", { name: "Seed" }).inputValue(), "42");
    await gamma.waitFor();
    assert.equal(await gamma.inputValue(), "2");
  });
});
