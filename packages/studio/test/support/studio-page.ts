/*
 * The studio as a person has it: pages of a real browser on a real server.
 */
import { after, afterEach, before } from "node:test";
import type { JobObject } from "@mflux-depth/server/contract";
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from "playwright-core";
import { launchBrowser } from "./browser.js";
import { patience } from "./patience.js";
import { type ServerOptions, StudioServer } from "./server.js";

export interface OpenOptions extends BrowserContextOptions {
  /** Another address of the server. */
  readonly url?: string;
  /** Let the page choose the size of images, as it does in a new profile. */
  readonly automaticSize?: boolean;
}

export interface Fixture {
  readonly server: StudioServer;
  /** Opens the studio in a browser profile of its own. */
  open(options?: OpenOptions): Promise<Page>;
  /** Opens the studio in another tab of a page's profile. */
  openTab(page: Page): Promise<Page>;
}

/** The draft of every profile. Images of this size take a fifth of the time of those that the page would choose. */
const smallImages = { size: { mode: "custom", width: 64, height: 64 } };

/** Frames without a GPU are slow, so that pages of most tests are small and move nothing that need not move. */
const everyPage: BrowserContextOptions = { viewport: { width: 1110, height: 560 }, reducedMotion: "reduce" };

/**
 * Starts a server and a browser before the tests of a file, which share them, and ends them afterwards. Pages end with
 * their test: one left open would go on to follow every job of the later ones, and to draw it.
 */
export function useStudio(options: ServerOptions = {}): Fixture {
  let server: StudioServer;
  let browser: Browser | undefined;
  const errors: Error[] = [];
  before(async () => {
    server = await StudioServer.start(options);
    browser = await launchBrowser();
  });
  afterEach(async () => {
    server?.speedUp();
    for (const context of browser?.contexts() ?? []) await context.close();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    if (errors.length > 0) throw new AggregateError(errors, "pages threw errors");
  });
  const openIn = async (context: BrowserContext, url = server.url): Promise<Page> => {
    const page = await context.newPage();
    page.setDefaultTimeout(patience);
    page.on("pageerror", (error) => errors.push(error));
    await page.goto(`${url}/`);
    return page;
  };
  return {
    get server() {
      return server;
    },
    open: async ({ url, automaticSize = false, ...options } = {}) => {
      const context = await browser!.newContext({ ...everyPage, ...options });
      if (!automaticSize) await context.addInitScript(rememberDraft, smallImages);
      return openIn(context, url);
    },
    openTab: (page) => openIn(page.context()),
  };
}

/** Stores a draft unless the profile has one. Runs in the page before the studio's script. */
function rememberDraft(draft: object): void {
  localStorage["mflux-depth:draft"] ??= JSON.stringify(draft);
}

/** Begins with a sample scene, and waits for its depth. */
export async function beginWith(page: Page, sample: "Bust" | "Sculpture" | "Mountains"): Promise<void> {
  await page.getByRole("button", { name: sample, exact: true }).click();
  await page.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
  await page.getByRole("button", { name: "Generate" }).and(page.locator(":enabled")).waitFor();
}

/** Sets the steps of the next image. */
export async function setSteps(page: Page, steps: number): Promise<void> {
  const field = page.getByRole("spinbutton", { name: "Steps" });
  await field.fill(String(steps));
  await field.press("Enter");
}

/**
 * Makes the next image, and all others of the test, take long, so that in the middle of it a page can be slow.
 * @param steps many for a job that is cancelled, which it hears of after a step; few for one that is finished later
 */
export async function makeItLast(page: Page, server: StudioServer, steps = 50): Promise<void> {
  server.slowDown(steps);
  await setSteps(page, steps);
}

export const generateButton = (page: Page): Locator => page.getByRole("button", { name: "Generate" });

/** Presses Generate. @returns the id of the job, once the server has taken it */
export async function submit(page: Page): Promise<string> {
  const answer = page.waitForResponse(
    (response) =>
      response.request().method() === "POST" &&
      new URL(response.url()).pathname === "/v1/jobs" &&
      response.ok(),
  );
  await generateButton(page).click();
  const { id } = (await (await answer).json()) as JobObject;
  return id;
}

/** Generates the image of the draft and waits until the page shows it. */
export async function generate(page: Page): Promise<void> {
  await finished(page, await submit(page));
}

/** Makes an image that tests share which do not care how it was made; {@link openSculpture} shows it. */
export async function makeSculpture(studio: Fixture): Promise<void> {
  const page = await studio.open();
  await beginWith(page, "Sculpture");
  await setSteps(page, 1);
  await generate(page);
  await page.context().close();
}

/** Opens the studio and shows the newest image of a sculpture. */
export async function openSculpture(studio: Fixture, options?: OpenOptions): Promise<Page> {
  const page = await studio.open(options);
  await page
    .getByRole("button", { name: /: an abstract sculpture/ })
    .first()
    .click();
  await finished(page);
  return page;
}

/** Waits for the image of a job on the canvas; of any, unless one is named. */
export const finished = (page: Page, id = ""): Promise<void> =>
  page
    .getByRole("link", { name: "Download" })
    .and(page.locator(`[href^="/v1/jobs/${id}"]`))
    .waitFor();

/** Waits until the page says which step the shown job is at. */
export const inTheMiddle = (page: Page): Promise<void> => page.getByText(/step \d+ of \d+/).waitFor();

/** Cancels the shown job and waits for its end. */
export async function cancel(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.locator(".result-bar").getByText("Stopped before it was finished").waitFor();
}

/** Drops a file onto the page, as from the desktop. */
export async function dropFile(page: Page, name: string, bytes: Buffer, type = "image/png"): Promise<void> {
  const data = await page.evaluateHandle(
    ({ base64, fileName, mime }) => {
      const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([content], fileName, { type: mime }));
      return transfer;
    },
    { base64: bytes.toString("base64"), fileName: name, mime: type },
  );
  await page.locator(".drop-target").dispatchEvent("drop", { dataTransfer: data });
}
