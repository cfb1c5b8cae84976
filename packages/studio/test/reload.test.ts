import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  finished,
  inTheMiddle,
  makeItLast,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";

describe("a reload", () => {
  const studio = useStudio();

  test("in the middle of a job changes nothing: the job goes on and the page shows it", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, 320);
    const id = await submit(page);
    await inTheMiddle(page);
    await page.reload();
    await inTheMiddle(page);
    await page.getByText("Drawing", { exact: true }).first().waitFor();
    await finished(page, id);
    // It finished under somebody's eyes, so it is not marked as new.
    await page.getByRole("button", { name: /^Finished: / }).waitFor();
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
    const fields = [
      page.getByRole("textbox", { name: "Describe the look" }),
      page.getByRole("spinbutton", { name: "Steps" }),
      page.getByRole("spinbutton", { name: "Seed" }),
      gamma,
    ];
    await becomes(["a tower of glass", "7", "42", "2"], () =>
      Promise.all(fields.map((field) => field.inputValue())),
    );
  });
});
