import { describe, test } from "node:test";
import { becomes } from "./support/patience.js";
import { beginWith, finished, inTheMiddle, setSteps, submit, useStudio } from "./support/studio-page.js";
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
    await setSteps(page, 50);
    const job = await submit(page);
    await inTheMiddle(page);
    wire.cut();
    await page.getByText("The server does not answer. Trying again…").waitFor();
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
    await setSteps(second, 8);
    await second.getByRole("textbox", { name: "Describe the look" }).fill("a tower of cheese");
    await finished(second, await submit(second));
    await first.getByRole("button", { name: "a tower of cheese" }).waitFor();
    await becomes(1, openStreams);
    await second.close();
    // The tab that is left takes over the stream.
    await finished(first, await submit(first));
    await first.context().close();
  });
});
