import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  finished,
  generateButton,
  inTheMiddle,
  makeItLast,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";
import { Wire } from "./support/wire.js";

const studio = useStudio();

describe("the event stream", () => {
  /** Streams that the server has open, by its own count. */
  const openStreams = async (): Promise<number> => {
    const metrics = await (await fetch(`${studio.server.url}/metrics`)).text();
    return Number(/^mflux_depth_sse_clients(?:{[^}]*})? (\d+)/m.exec(metrics)![1]);
  };

  test("that was lost is replaced, and what happened meanwhile is shown", async () => {
    const wire = await Wire.to(Number(new URL(studio.server.url).port));
    const page = await studio.open({ url: wire.url });
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server, 10);
    const job = await submit(page);
    await inTheMiddle(page);
    wire.cut();
    await page.getByText("The server does not answer. Trying again…").waitFor();
    studio.server.speedUp();
    await studio.server.finished(job);
    wire.mend();
    await finished(page, job);
    await page.context().close();
    wire.close();
  });

  test("is one for all tabs, which show the same jobs", async () => {
    const first = await studio.open();
    await beginWith(first, "Sculpture");
    const second = await studio.openTab(first);
    await second.getByText("tiny-world · CPU").waitFor();
    await setSteps(second, 1);
    await second.getByRole("textbox", { name: "Describe the look" }).fill("a tower of cheese");
    await finished(second, await submit(second));
    await first.getByRole("button", { name: "a tower of cheese" }).waitFor();
    await becomes(1, openStreams);
    await second.close();
    await setSteps(first, 1);
    // The tab that is left takes over the stream.
    await finished(first, await submit(first));
    await first.context().close();
  });
});

describe("a reload", () => {
  test("in the middle of a job changes nothing: the job goes on and the page shows it", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a bust of salt");
    await makeItLast(page, studio.server, 10);
    const id = await submit(page);
    await inTheMiddle(page);
    await page.reload();
    await inTheMiddle(page);
    await page.getByText("Drawing", { exact: true }).first().waitFor();
    studio.server.speedUp();
    await finished(page, id);
    // It finished under somebody's eyes, so it is not marked as new.
    await page.getByRole("button", { name: "Finished: a bust of salt" }).waitFor();
    const drawn = (await studio.server.jobs()).filter(({ request }) => request.prompt === "a bust of salt");
    assert.deepEqual(
      drawn.map((job) => [job.id, job.state]),
      [[id, "succeeded"]],
    );
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

describe("a server that is killed under an open page", () => {
  test("is missed and found again, and its job continues on the page", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server, 10);
    const id = await submit(page);
    await inTheMiddle(page);
    await studio.server.kill();
    await page.getByText("The server does not answer. Trying again…").waitFor();
    studio.server.speedUp();
    await studio.server.restart();
    await page.getByText("tiny-world · CPU").waitFor();
    await finished(page, id);
    const [job] = await studio.server.jobs();
    assert.equal(job!.state, "succeeded");
    assert.equal(job!.attempt, 2);
  });

  test("loses nothing that was typed while it was away", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await setSteps(page, 2);
    await studio.server.kill();
    await setSteps(page, 3);
    await page.getByRole("textbox", { name: "Describe the look" }).fill("a red sculpture, on sand");
    await generateButton(page).click();
    await page.getByRole("alert").filter({ hasText: "Your prompt and strokes are kept" }).waitFor();
    await studio.server.restart();
    await page.getByText("tiny-world · CPU").waitFor();
    await page.locator("#cost").getByText("about").waitFor();
    await generateButton(page).click();
    await finished(page);
    const jobs = await studio.server.jobs();
    assert.deepEqual(
      jobs.map(({ request }) => request.prompt).filter((prompt) => prompt === "a red sculpture, on sand"),
      ["a red sculpture, on sand"],
    );
  });
});
