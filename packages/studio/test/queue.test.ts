import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobObject } from "@mflux-depth/server/contract";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  cancel,
  endless,
  generateButton,
  inTheMiddle,
  makeItLast,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";

describe("the queue", () => {
  const studio = useStudio();

  test("is paused, reordered, relieved of a job and resumed", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await page.getByRole("button", { name: "Queue" }).click();
    const dialog = page.getByRole("dialog", { name: "Queue" });
    await dialog.getByRole("button", { name: "Pause" }).click();
    await dialog.getByText("Paused: the running job finishes, the others wait.").waitFor();
    await page.keyboard.press("Escape");
    for (const [index, prompt] of ["first", "second", "third"].entries()) {
      await page.getByRole("textbox", { name: "Describe the look" }).fill(prompt);
      await generateButton(page).click();
      await page.getByRole("button", { name: `Queue ${index + 1}` }).waitFor();
    }
    await page.getByRole("button", { name: "Queue 3" }).click();
    const order = (): Promise<string[]> => dialog.locator(".queued-prompt").allTextContents();
    await becomes(["first", "second", "third"], order);
    await dialog.getByRole("button", { name: "Earlier: third" }).click();
    await becomes(["first", "third", "second"], order);
    await dialog.getByRole("button", { name: "Earlier: third" }).click();
    await becomes(["third", "first", "second"], order);
    await dialog.getByRole("button", { name: "Cancel: first" }).click();
    await dialog.getByRole("button", { name: "Cancel: first" }).waitFor({ state: "hidden" });
    await dialog.getByRole("button", { name: "Resume" }).click();
    await dialog.getByText("Nothing waits.").waitFor();
    const jobs = await studio.server.jobs();
    const named = (prompt: string): JobObject => jobs.find(({ request }) => request.prompt === prompt)!;
    assert.equal(named("first").state, "cancelled");
    assert.ok(named("third").started_at! < named("second").started_at!);
  });

  test("shows who works on what, and lets a worker take a break", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, endless);
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a long job");
    await submit(page);
    await inTheMiddle(page);
    await page.getByRole("button", { name: "Queue" }).click();
    const dialog = page.getByRole("dialog", { name: "Queue" });
    // The server's own worker is nobody's concern until someone asks.
    const heading = dialog.getByRole("heading", { name: "Workers" });
    await heading.waitFor();
    const drain = dialog.getByRole("button", { name: "Take a break: local" });
    assert.equal(await drain.isVisible(), false);
    await heading.click();
    await dialog.locator(".worker-job").getByText("a long job").waitFor();
    await drain.click();
    await dialog.getByText("taking a break", { exact: false }).waitFor();
    await dialog.getByRole("button", { name: "Work again: local" }).click();
    await drain.waitFor();
    await dialog.getByRole("button", { name: "Cancel: a long job" }).click();
    await dialog.getByText("Nothing waits.").waitFor();
  });

  test("lets a running job be cancelled from the canvas", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, endless);
    await submit(page);
    await inTheMiddle(page);
    await cancel(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.state, "cancelled");
  });
});
