import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { becomes } from "./support/patience.js";
import {
  beginWith,
  cancel,
  generate,
  inTheMiddle,
  makeItLast,
  makeSculpture,
  openSculpture,
  setSteps,
  submit,
  useStudio,
} from "./support/studio-page.js";

describe("a result", () => {
  const studio = useStudio();

  before(() => makeSculpture(studio));

  test("is varied in a grid of four seeds, one of which is opened", async () => {
    const page = await openSculpture(studio);
    await page.getByRole("button", { name: "Vary" }).click();
    await page.locator(".grid-tile > img[alt^='an abstract']").nth(3).waitFor();
    const seeds = (await studio.server.jobs()).slice(0, 4).map(({ seed }) => seed);
    assert.equal(new Set(seeds).size, 4);
    await page.locator(".grid-tile").nth(2).click();
    await page.getByRole("button", { name: "Result", pressed: true }).waitFor();
    await page.getByRole("button", { name: "All 4" }).click();
    await page.locator(".grid-tile").first().waitFor();
  });

  test("is the best of several, which a grid shows with their scores", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    const field = page.getByRole("spinbutton", { name: "Best of" });
    await field.fill("3");
    await field.press("Enter");
    const id = await submit(page);
    await page.locator(".grid-tile > img[alt^='a glossy']").nth(2).waitFor();
    await studio.server.finished(id);
    const [job] = await studio.server.jobs();
    const captions = job!.images.map(
      ({ seed, score }, i) => `${i + 1}. depth error ${score!.rmse.toFixed(1)} · seed ${seed}`,
    );
    await becomes(captions, () => page.locator(".grid-caption").allTextContents());
    await page.locator(".grid-tile").nth(1).click();
    await page.locator(".result-bar").getByText(captions[1]!).waitFor();
    const second = page.getByRole("link", { name: "Download" });
    await becomes(job!.images[1]!.url, () => second.getAttribute("href"));
    await page.getByRole("button", { name: "All 3" }).click();
    await page.locator(".grid-tile").first().waitFor();
  });

  test("is compared with the photo, or with its depth", async () => {
    const page = await openSculpture(studio, { viewport: { width: 1440, height: 740 } });
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    const left = page.locator(".stage-label-left");
    await left.getByText("Photo").waitFor();
    const bases = page.getByRole("group", { name: "Compare with" });
    await bases.getByRole("button", { name: "Depth" }).click();
    await left.getByText("Depth").waitFor();
    await page.getByRole("button", { name: "Side by side" }).click();
    await page.locator(".stage-label-right").getByText("Result").waitFor();
    // A comparison with itself is none.
    await page.locator(".stage").press("2");
    await left.waitFor({ state: "hidden" });
  });

  test("becomes the photo of the next image", async () => {
    const page = await openSculpture(studio);
    await page.getByRole("button", { name: "Use as photo" }).click();
    await page.getByText("Treated as a photo.").waitFor();
    const source = page.locator(".source");
    assert.equal(await source.count(), 1);
    await source.getByText("64 × 64").waitFor();
  });

  test("is previewed even if each preview arrives after the next one was made", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    let deliver = (): void => {};
    await page.route("**/v1/jobs/*/previews/*", async (route) => {
      const response = await route.fetch();
      deliver();
      deliver = () => void route.fulfill({ response });
    });
    await makeItLast(page, studio.server);
    await submit(page);
    await page.getByRole("button", { name: "Result", pressed: true }).waitFor();
    await cancel(page);
  });

  test("leaves none of its previews in memory", async () => {
    const page = await studio.open();
    await page.addInitScript(() => {
      const made: ImageBitmap[] = [];
      Object.assign(window, { made });
      const create = window.createImageBitmap.bind(window) as (...given: unknown[]) => Promise<ImageBitmap>;
      window.createImageBitmap = async (...given: unknown[]) => {
        const bitmap = await create(...given);
        made.push(bitmap);
        return bitmap;
      };
    });
    await page.reload();
    await beginWith(page, "Bust");
    await setSteps(page, 4);
    await generate(page);
    /** Waits until this number of bitmaps is open; a closed one has no size. */
    const open = (count: number) =>
      page.waitForFunction((wanted) => {
        const { made } = window as unknown as { made: ImageBitmap[] };
        return made.filter(({ width }) => width > 0).length === wanted;
      }, count);
    // The draft's photo, and the job's photo and image.
    await open(3);
    await page.getByRole("button", { name: "Keep editing" }).click();
    await open(1);
  });

  test("is copied as a command that makes it again", async () => {
    const page = await openSculpture(studio, { permissions: ["clipboard-read", "clipboard-write"] });
    const job = (await studio.server.jobs()).find(({ request }) =>
      String(request.prompt).startsWith("an abstract sculpture"),
    );
    for (const [name, expected] of [
      ["Command line", `--seed ${job!.seed}`],
      ["curl", `"seed": ${job!.seed}`],
      ["TypeScript", `seed: ${job!.seed},`],
      ["Python", `"seed": ${job!.seed}`],
    ] as const) {
      await page.getByRole("button", { name: /^Cop/ }).click();
      await page.getByRole("menuitem", { name }).click();
      const clipboard = (): Promise<string> => page.evaluate(() => navigator.clipboard.readText());
      await becomes(true, async () => (await clipboard()).includes(expected));
      await page.getByRole("status").filter({ hasText: "Copied" }).waitFor({ state: "attached" });
      const copied = await clipboard();
      if (name === "curl") {
        const body = /--data '([^']*)'/.exec(copied)![1]!;
        const again = await studio.server.ask<{ seed: number }>("/v1/jobs?wait=60", { method: "POST", body });
        assert.equal(again.seed, job!.seed);
      }
    }
  });

  test("that was cancelled can be tried again", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await makeItLast(page, studio.server);
    await submit(page);
    await inTheMiddle(page);
    await cancel(page);
    await page.getByRole("button", { name: "Try again" }).click();
    await inTheMiddle(page);
    await cancel(page);
  });
});
