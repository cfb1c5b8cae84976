/*
 * The studio as a person has it: pages of a real browser on a real server.
 */
import { after, before } from "node:test";
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from "playwright-core";
import { launchBrowser } from "./browser.js";
import { StudioServer } from "./server.js";

/** Generating and loading take seconds on a slow machine. */
const patience = 60_000;

export interface Fixture {
  readonly server: StudioServer;
  /** Opens the studio in a browser profile of its own, by another address of the server if one is given. */
  open(options?: BrowserContextOptions, url?: string): Promise<Page>;
  /** Opens the studio in another tab of a page's profile. */
  openTab(page: Page): Promise<Page>;
}

/** Starts a server and a browser before the tests of a file, and ends them afterwards. */
export function useStudio({ token }: { readonly token?: string } = {}): Fixture {
  let server: StudioServer;
  let browser: Browser | undefined;
  const errors: Error[] = [];
  before(async () => {
    server = await StudioServer.start(token ? { token } : {});
    browser = await launchBrowser();
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
    open: async (options, url) =>
      openIn(await browser!.newContext({ viewport: { width: 1280, height: 860 }, ...options }), url),
    openTab: (page) => openIn(page.context()),
  };
}

/** Begins with a sample scene, and waits for its depth. */
export async function beginWith(page: Page, sample: "Bust" | "Sculpture" | "Mountains"): Promise<void> {
  await page.getByRole("button", { name: sample, exact: true }).click();
  await page.getByRole("button", { name: "Depth", pressed: true }).first().waitFor();
  await page.getByRole("button", { name: "Generate" }).and(page.locator(":enabled")).waitFor();
}

/** Sets the steps of the next image: few for speed, many for a job that lasts. */
export async function setSteps(page: Page, steps: number): Promise<void> {
  const field = page.getByRole("spinbutton", { name: "Steps" });
  await field.fill(String(steps));
  await field.press("Enter");
}

export const generateButton = (page: Page): Locator => page.getByRole("button", { name: "Generate" });

/** Generates the image of the draft and waits for it. */
export async function generate(page: Page): Promise<void> {
  const before = await page.locator(".frame").count();
  await generateButton(page).click();
  await page.locator(".frame").nth(before).waitFor();
  await finished(page);
}

/** Waits for the image of the job on the canvas. */
export const finished = (page: Page): Promise<void> => page.getByRole("link", { name: "Download" }).waitFor();

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
