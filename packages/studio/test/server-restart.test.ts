import assert from "node:assert/strict";
import { describe, test } from "node:test";
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

describe("a server that is killed under an open page", () => {
  const studio = useStudio();

  test("is missed and found again, and its job continues on the page", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, 320);
    const id = await submit(page);
    await inTheMiddle(page);
    await studio.server.kill();
    await page.getByText("The server does not answer. Trying again…").waitFor();
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
