import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { WorkerObject } from "@mflux-depth/server/contract";
import { withoutRedis } from "./support/fleet.js";
import { becomes } from "./support/patience.js";
import { beginWith, endless, makeItLast, setSteps, submit, useStudio } from "./support/studio-page.js";

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
    await makeItLast(page, endless);
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
    await dialog.getByText("Every worker takes a break.").waitFor();
    await hears(idle!.id);
    await page.keyboard.press("Escape");
    await setSteps(page, 1);
    await page.getByRole("combobox", { name: "Size" }).selectOption("auto");
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
    await dialog.getByText("Nothing waits.").waitFor();
    await row(busy!.id).getByRole("button", { name: "Work again" }).click();
    await row(busy!.id).getByText("idle").waitFor();
  });
});
