import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobObject, WorkerObject } from "@mflux-depth/server/contract";
import { withoutRedis } from "./support/fleet.js";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  cancel,
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
    await dialog.getByText("Nothing is waiting.").waitFor();
    const jobs = await studio.server.jobs();
    const named = (prompt: string): JobObject => jobs.find(({ request }) => request.prompt === prompt)!;
    assert.equal(named("first").state, "cancelled");
    assert.ok(named("third").started_at! < named("second").started_at!);
  });

  test("shows who works on what, and lets a worker take a break", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server);
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
    await dialog.getByText("Nothing is waiting.").waitFor();
  });

  test("lets a running job be cancelled from the canvas", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server);
    await submit(page);
    await inTheMiddle(page);
    await cancel(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.state, "cancelled");
  });
});

describe("several workers", { skip: withoutRedis }, () => {
  const studio = useStudio({ workers: ["easel", "kiln"] });

  const workers = async (): Promise<readonly WorkerObject[]> =>
    (await studio.server.ask<{ data: WorkerObject[] }>("/v1/workers")).data;
  /** Waits until a worker has obeyed: the answer to a heartbeat tells it, and the next heartbeat comes after that. */
  async function hears(worker: string): Promise<void> {
    const heartbeats = new Set<string>();
    await becomes(true, async () => {
      heartbeats.add((await workers()).find(({ id }) => id === worker)!.last_seen);
      return heartbeats.size > 2;
    });
  }

  test("are shown with their jobs, and one takes a break until it is told to work again", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    const prompt = page.getByRole("textbox", { name: "Describe the look" });
    await makeItLast(page, studio.server);
    await prompt.fill("a long job");
    const long = await submit(page);
    await page.getByRole("button", { name: /^Queue/ }).click();
    const dialog = page.getByRole("dialog", { name: "Queue" });
    const row = (id: string) => dialog.locator(".worker").filter({ hasText: id });
    await dialog.getByText("1 of 2 working").waitFor();

    // The one that works, and the one that a second job would go to.
    const all = await workers();
    const [busy, idle] = [all.find(({ job }) => job !== null), all.find(({ job }) => job === null)];
    await row(busy!.id).getByRole("button", { name: "a long job" }).waitFor();
    await row(idle!.id).getByText("idle").waitFor();
    await row(idle!.id).getByRole("button", { name: "Take a break" }).click();
    await row(idle!.id).getByText("taking a break").waitFor();

    // With both at rest, the running job goes on, and the next one waits.
    await row(busy!.id).getByRole("button", { name: "Take a break" }).click();
    await row(busy!.id).getByText("taking a break after this job").waitFor();
    await dialog.getByText("All workers are on a break.").waitFor();
    await hears(idle!.id);
    await page.keyboard.press("Escape");
    await setSteps(page, 1);
    await prompt.fill("a short job");
    const short = await submit(page);
    await page.getByRole("button", { name: /^Queue/ }).click();
    await dialog.getByText(/\b1 waiting$/).waitFor();

    await row(idle!.id).getByRole("button", { name: "Work again" }).click();
    await studio.server.finished(short);
    const done = (await studio.server.jobs()).find(({ id }) => id === short)!;
    assert.deepEqual([done.state, done.worker], ["succeeded", idle!.id]);
    await row(idle!.id).getByText("idle").waitFor();
    await studio.server.ask(`/v1/jobs/${long}/cancel`, { method: "POST" });
    await dialog.getByText("Nothing is waiting.").waitFor();
    await row(busy!.id).getByRole("button", { name: "Work again" }).click();
    await row(busy!.id).getByText("idle").waitFor();
  });
});
