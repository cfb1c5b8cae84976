import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { beginWith, finished, generateButton, setSteps, useStudio } from "./support/studio-page.js";
import { Wire } from "./support/wire.js";

describe("the event stream", () => {
  const studio = useStudio();

  /** Streams that the server has open, by its own count. */
  const openStreams = async (): Promise<number> => {
    const metrics = await (await fetch(`${studio.server.url}/metrics`)).text();
    return Number(/^mflux_depth_sse_clients(?:{[^}]*})? (\d+)/m.exec(metrics)![1]);
  };

  test("that was lost is replaced, and what happened meanwhile is shown", async () => {
    const wire = await Wire.to(Number(new URL(studio.server.url).port));
    const page = await studio.open({}, wire.url);
    await beginWith(page, "Bust");
    await setSteps(page, 30);
    await generateButton(page).click();
    await page.getByText(/step \d+ of 30/).waitFor();
    wire.cut();
    await page.getByText("The server does not answer. Trying again…").waitFor();
    const [job] = await studio.server.jobs();
    await studio.server.finished(job!.id);
    wire.mend();
    await finished(page);
    await page.context().close();
    wire.close();
  });

  test("is one for all tabs, which show the same jobs", async () => {
    const first = await studio.open();
    await beginWith(first, "Sculpture");
    const second = await studio.openTab(first);
    await second.getByText("tiny-world · CPU").waitFor();
    await setSteps(second, 8);
    const frames = second.locator(".frame");
    const before = await frames.count();
    await generateButton(second).click();
    await finished(second);
    await first.locator(".frame").nth(before).waitFor();
    assert.equal(await openStreams(), 1);
    await second.close();
    // The tab that is left takes over the stream.
    await generateButton(first).click();
    await first
      .locator(".frame")
      .nth(before + 1)
      .waitFor();
    await finished(first);
    await first.context().close();
  });
});
