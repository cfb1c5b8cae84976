import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, describe, test } from "node:test";
import type { JobObject } from "@mflux-depth/server/contract";
import type { Page } from "playwright-core";
import { becomes } from "./support/patience.js";
import { beginWith, dropFile, finished, generate, setSteps, useStudio } from "./support/studio-page.js";

const first = "the first of all";
const many = 2000;

describe("the history", () => {
  const studio = useStudio();

  /** Has the server take a job with a depth map, past the page. */
  async function ask(prompt: string, options = ""): Promise<JobObject> {
    const { server } = studio;
    const file = await readFile(new URL("../../../../examples/images/cube_depth.png", import.meta.url));
    const map = await server.ask<{ id: string }>("/v1/blobs", { method: "POST", body: new Blob([file]) });
    const request = { prompt, depth_image: { blob: map.id }, width: 128, height: 128, steps: 1 };
    const body = JSON.stringify({ kind: "generate", request });
    return server.ask(`/v1/jobs${options}`, { method: "POST", body });
  }

  before(async () => {
    const { state } = await ask(first, "?wait=120");
    assert.equal(state, "succeeded");
  });

  const prompt = (page: Page) => page.getByRole("textbox", { name: "Describe the look" });
  const frame = (page: Page, words: string) => page.getByRole("button", { name: new RegExp(`: ${words}$`) });

  /** Makes an image of few steps with a prompt of its own. */
  async function make(page: Page, words: string): Promise<void> {
    await prompt(page).fill(words);
    await generate(page);
  }

  /** Opens the studio with an image in its history, and shows that. */
  async function openWith(words: string): Promise<Page> {
    studio.server.copyNewestImage(1, () => words);
    const page = await studio.open();
    await frame(page, words).click();
    await finished(page);
    return page;
  }

  /** Stops the page's clock, so that there is time to look and to undo. */
  async function stopClock(page: Page): Promise<void> {
    await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 60_000);
  }

  test("finds words in prompts and what was starred", async () => {
    studio.server.copyNewestImage(1, () => "a silver heron");
    const page = await openWith("a copper kettle");
    await page.getByRole("button", { name: "Star", exact: true }).click();
    await page.getByRole("button", { name: "Remove the star" }).waitFor();
    await page.getByRole("searchbox", { name: "Search prompts" }).fill("HERON");
    await frame(page, "a copper kettle").waitFor({ state: "hidden" });
    await frame(page, "a silver heron").waitFor();
    await page.getByRole("searchbox", { name: "Search prompts" }).fill("");
    await frame(page, "a copper kettle").waitFor();
    await page.getByRole("button", { name: "Starred only" }).click();
    await frame(page, "a silver heron").waitFor({ state: "hidden" });
    await frame(page, "a copper kettle").waitFor();
  });

  test("lists what was starred although the server hears of it later", async () => {
    const page = await openWith("a tin soldier");
    // The star is on its way until the list of starred jobs has come.
    let arrive = (): void => {};
    const listed = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    await page.route("**/v1/jobs/*", async (route) => {
      if (route.request().method() === "PATCH") await listed;
      await route.continue();
    });
    await page.getByRole("button", { name: "Star", exact: true }).click();
    const answer = page.waitForResponse((response) => response.url().includes("starred=true"));
    await page.getByRole("button", { name: "Starred only" }).click();
    await answer;
    await frame(page, "a tin soldier").waitFor();
    arrive();
    await becomes(true, async () =>
      (await studio.server.jobs()).some(
        ({ request, starred }) => starred && request.prompt === "a tin soldier",
      ),
    );
    await frame(page, "a tin soldier").waitFor();
  });

  test("forgets an image only when the time for undoing is over", async () => {
    const page = await openWith("a wooden duck");
    await page.clock.install();
    await page.reload();
    await finished(page);
    await stopClock(page);
    await page.getByRole("button", { name: "Delete" }).click();
    await frame(page, "a wooden duck").waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "Undo" }).and(page.locator(".notices button")).click();
    await page.clock.resume();
    await frame(page, "a wooden duck").click();
    await finished(page);
    await stopClock(page);
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByText("Deleted.").waitFor();
    const isKept = async (): Promise<boolean> =>
      (await studio.server.jobs()).some(({ request }) => request.prompt === "a wooden duck");
    assert.equal(await isKept(), true);
    await page.clock.runFor(10_000);
    await page.clock.resume();
    await page.getByText("Deleted.").waitFor({ state: "hidden" });
    await becomes(false, isKept);
    await frame(page, "a wooden duck").waitFor({ state: "hidden" });
  });

  test("gives back all settings, all but the seed, or only the depth", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await setSteps(page, 3);
    await page.getByRole("spinbutton", { name: "Seed" }).fill("77");
    await make(page, "a glass tower");
    const seed = page.getByRole("spinbutton", { name: "Seed" });
    const steps = page.getByRole("spinbutton", { name: "Steps" });
    const reuse = async (item: string): Promise<void> => {
      await prompt(page).fill("something else");
      await seed.fill("5");
      await setSteps(page, 9);
      await frame(page, "a glass tower").click();
      await finished(page);
      await page.getByRole("button", { name: "Reuse" }).click();
      await page.getByRole("menuitem", { name: item }).click();
      await page.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
    };
    const settings = (): Promise<string[]> =>
      Promise.all([prompt(page), seed, steps].map((field) => field.inputValue()));
    await reuse("All settings");
    await becomes(["a glass tower", "77", "3"], settings);
    await reuse("All but the seed");
    await becomes(["a glass tower", "", "3"], settings);
    await reuse("Only the photo and depth");
    await becomes(["something else", "5", "9"], settings);
  });

  test("gives settings and levels back from a dropped file, with the photo and its depth", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 2);
    // An image that keeps nothing of its photo does not remember it.
    const keep = page.getByRole("spinbutton", { name: "Keep from photo" });
    await keep.fill("50");
    await keep.press("Enter");
    await page.getByRole("spinbutton", { name: "Seed" }).fill("1234");
    const near = page.getByLabel("Near", { exact: true }).and(page.locator("input"));
    await near.fill("90");
    await near.press("Enter");
    await make(page, "a marble owl");
    const [job] = await studio.server.jobs();
    const response = await fetch(studio.server.url + job!.image!.url);
    const other = await studio.open();
    await other.getByText("tiny-world · CPU").waitFor();
    await dropFile(other, "owl.png", Buffer.from(await response.arrayBuffer()));
    await other.getByText("mflux-depth made this picture").waitFor();
    await other.getByRole("button", { name: "Use its settings" }).click();
    await other.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
    const fields = [
      prompt(other),
      other.getByRole("spinbutton", { name: "Seed" }),
      other.getByRole("spinbutton", { name: "Steps" }),
      other.getByLabel("Near", { exact: true }).and(other.locator("input")),
    ];
    await becomes(["a marble owl", "1234", "2", "90 %"], () =>
      Promise.all(fields.map((field) => field.inputValue())),
    );
    await other.locator(".source").getByText("Photo").waitFor();
    await other.locator(".source").getByText("Depth map").waitFor();
  });

  test("gives the settings back from an image of the first version", async () => {
    const page = await studio.open();
    await page.getByText("tiny-world · CPU").waitFor();
    const file = new URL("../../../../docs/images/portrait.png", import.meta.url);
    await dropFile(page, "portrait.png", await readFile(file));
    await page.getByRole("button", { name: "Use its settings" }).click();
    await page.getByText("Your prompt is saved: a glossy gold portrait, on snow").waitFor();
  });

  /** Opens the studio with an old job that was cancelled, and shows that. */
  async function openStopped(): Promise<{ page: Page; id: string }> {
    const { server } = studio;
    await server.ask("/v1/queue/pause", { method: "POST" });
    const { id } = await ask("a cube");
    await server.ask(`/v1/jobs/${id}/cancel`, { method: "POST" });
    await server.ask("/v1/queue/resume", { method: "POST" });
    const page = await studio.open();
    await beginWith(page, "Bust");
    await page.locator(".frame").first().click();
    await page.locator(".result-bar").getByText("Stopped before it was finished").waitFor();
    server.copyNewestImage(45, (index) => `cube number ${index}`);
    return { page, id };
  }

  /** Waits until the draft is shown, with the settings of its depth. */
  async function draftShown(page: Page): Promise<void> {
    await page.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
    await page.locator(".result-bar").waitFor({ state: "hidden" });
    await page.getByRole("checkbox", { name: "Invert" }).waitFor();
  }

  test("shows an old job again after a reload, and the draft once that job is deleted", async () => {
    const { page, id } = await openStopped();
    await page.reload();
    await page.locator(".result-bar").getByText("Stopped before it was finished").waitFor();
    await studio.server.ask(`/v1/jobs/${id}`, { method: "DELETE" });
    await draftShown(page);
  });

  test("shows the draft when an old job was deleted before the page heard of events", async () => {
    const { page, id } = await openStopped();
    let deleted = (): void => {};
    const deletion = new Promise<void>((resolve) => {
      deleted = resolve;
    });
    const isStream = ({ pathname }: URL): boolean => pathname === "/v1/events";
    await page.route(isStream, async (route) => {
      await deletion;
      await route.continue();
    });
    await page.reload();
    await page.locator(".result-bar").getByText("Stopped before it was finished").waitFor();
    await studio.server.ask(`/v1/jobs/${id}`, { method: "DELETE" });
    deleted();
    await draftShown(page);
  });

  describe(`of ${many} jobs`, () => {
    before(() => studio.server.copyNewestImage(many, (index) => `cube number ${index}`));

    /** The numbers in the prompts of the frames that the page has, in their order. */
    const numbers = (page: Page): Promise<number[]> =>
      page
        .locator(".frame")
        .evaluateAll((frames) => frames.map((frame) => Number(/\d+$/.exec(frame.getAttribute("title")!))));

    test("is read page by page and shown from end to end with few frames in the page", async () => {
      const page = await studio.open();
      const film = page.locator(".film");
      await becomes(many - 1, async () => (await numbers(page))[0]!);
      // To the end again and again, as somebody does who drags the scroll bar, until the oldest job has come.
      const oldest = page.getByRole("button", { name: new RegExp(`: ${first}$`) });
      await becomes(true, async () => {
        await film.evaluate((list) => {
          list.scrollLeft = list.scrollWidth;
        });
        return oldest.isVisible();
      });
      const last = await numbers(page);
      assert.ok(last.length < 150, `${last.length} frames are in the page`);
      await becomes("true", async () => {
        await page.keyboard.press("Tab");
        return film.evaluate((list) => String(list.contains(document.activeElement)));
      });
      const focused = (): Promise<string> =>
        page.evaluate(() => document.activeElement!.getAttribute("title") ?? "");
      await page.keyboard.press("Home");
      await becomes(`cube number ${many - 1}`, focused);
      await page.keyboard.press("End");
      await becomes(first, focused);
      // The film stays as long as it is while the page catches up with what it has missed.
      await studio.server.kill();
      studio.server.copyNewestImage(1, () => "cube number 7777");
      await studio.server.restart();
      await becomes(7777, async () => {
        await page.keyboard.press("Home");
        return (await numbers(page))[0]!;
      });
      await page.keyboard.press("End");
      await becomes(first, focused);
      await page.getByRole("searchbox", { name: "Search prompts" }).fill("number 1234");
      await becomes([1234], () => numbers(page));
    });

    test("goes on after a page that could not be read, without being scrolled again", async () => {
      const page = await studio.open();
      const film = page.locator(".film");
      const width = (): Promise<number> => film.evaluate((list) => list.scrollWidth);
      // A reload shows the newest job before the first page comes; scrolling then would end with the one frame.
      await becomes(true, async () => (await width()) > 30 * 80);
      let asked = 0;
      const isNextPage = ({ searchParams }: URL): boolean => searchParams.has("cursor");
      await page.route(isNextPage, (route) => {
        asked++;
        return asked === 1 ? route.abort() : route.continue();
      });
      await film.evaluate((list) => {
        list.scrollLeft = list.scrollWidth;
      });
      await becomes(1, async () => Math.min(asked, 1));
      await becomes(true, async () => (await width()) > 100 * 80);
    });
  });
});
