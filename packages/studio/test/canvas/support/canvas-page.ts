/*
 * The canvas in a real browser, without the rest of the studio and without a server for jobs.
 */
import { readFile } from "node:fs/promises";
import { after, afterEach, before } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import sharp from "sharp";
import { build } from "vite";
import { type BrowserOptions, launchBrowser } from "../../support/browser.js";
import { patience } from "../../support/patience.js";

const repository = fileURLToPath(new URL("../../../../../../", import.meta.url));
const studio = `${repository}packages/studio`;

/** The size of the stage in tests: pictures of 400 × 300 show a pixel as a pixel, with the room around them. */
export const stageSize = { width: 424, height: 324 };

/** Where such a picture begins within the stage. */
export const inset = 12;

/** The width of the panel next to the stage. */
export const panelWidth = 268;

export interface CanvasFixture {
  /** Opens the page of the canvas: with options in a browser profile of its own, which ends with the test. */
  open(options?: BrowserContextOptions): Promise<Page>;
}

/** Where pages find the canvas: an address that browsers trust, and that only tests answer. */
const address = "http://localhost/";

const viewport = { width: panelWidth + stageSize.width, height: stageSize.height };

/** Builds the page and starts a browser before the tests of a file, and ends it afterwards. */
export function useCanvas(options: BrowserOptions = {}): CanvasFixture {
  let files: ReadonlyMap<string, Uint8Array | string>;
  let browser: Browser;
  /** The page of all tests that open it without options: loading it again is faster than another profile. */
  let shared: Page | null = null;
  const errors: Error[] = [];
  before(async () => {
    // One after the other: a browser next to a build that fails would keep the process alive.
    files = await buildPage();
    browser = await launchBrowser(options);
  });
  afterEach(async () => {
    for (const context of browser?.contexts() ?? []) if (context !== shared?.context()) await context.close();
  });
  after(async () => {
    await browser?.close();
    if (errors.length > 0) throw new AggregateError(errors, "pages threw errors");
  });
  const newPage = async (given?: BrowserContextOptions): Promise<Page> => {
    const context = await browser.newContext({
      viewport,
      reducedMotion: "reduce",
      colorScheme: "dark",
      ...given,
    });
    await context.route(`${address}**`, (route) => {
      const name = new URL(route.request().url()).pathname.slice(1) || "index.html";
      const body = files.get(name);
      if (body === undefined) return route.fulfill({ status: 404 });
      return route.fulfill({ body: Buffer.from(body), contentType: typeOf(name) });
    });
    const page = await context.newPage();
    page.setDefaultTimeout(patience);
    page.on("pageerror", (error) => errors.push(error));
    return page;
  };
  const sharedPage = async (): Promise<Page> => {
    shared ??= await newPage();
    await shared.setViewportSize(viewport);
    await shared.mouse.move(0, 0);
    return shared;
  };
  return {
    open: async (given) => {
      const page = given ? await newPage(given) : await sharedPage();
      await page.goto(address);
      await page.waitForFunction(() => "studio" in window);
      return page;
    },
  };
}

/** The files of the page, by their names. */
async function buildPage(): Promise<Map<string, Uint8Array | string>> {
  const built = await build({
    configFile: false,
    root: `${studio}/test/canvas/page`,
    logLevel: "error",
    oxc: { jsx: { importSource: "preact" } },
    build: { write: false, minify: false, modulePreload: false },
  });
  if (Array.isArray(built) || !("output" in built)) throw new TypeError("one build has one output");
  return new Map(
    built.output.map((file) => [file.fileName, file.type === "chunk" ? file.code : file.source]),
  );
}

const types: Readonly<Record<string, string>> = {
  html: "text/html",
  js: "text/javascript",
  css: "text/css",
};

const typeOf = (name: string): string =>
  types[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream";

/** Waits until what was asked for has been drawn: drawing takes place in the frame after, overlays in the one after that. */
export const drawn = (page: Page): Promise<void> =>
  page.evaluate(async () => {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
  });

/** What a person sees of the stage. */
export interface Seen {
  readonly width: number;
  readonly height: number;
  /** The colour of a pixel, from the stage's upper left corner. */
  at(x: number, y: number): [r: number, g: number, b: number];
  /** Equal for equal pictures. */
  readonly bytes: Buffer;
}

/** Looks at the stage once it is drawn. */
export async function look(page: Page): Promise<Seen> {
  await drawn(page);
  return glance(page);
}

/** Looks at the stage as it is: where the clock has been stopped there are no frames to wait for. */
export async function glance(page: Page): Promise<Seen> {
  const { data, info } = await sharp(await page.locator(".stage").screenshot())
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return {
    width: info.width,
    height: info.height,
    at: (x, y) => {
      const start = 3 * (Math.round(y) * info.width + Math.round(x));
      return [data[start]!, data[start + 1]!, data[start + 2]!];
    },
    bytes: data,
  };
}

/** A picture of the repository in base64. @param path relative to the repository */
export const picture = async (path: string): Promise<string> =>
  (await readFile(`${repository}${path}`)).toString("base64");

/**
 * Shows a map over a photo of 400 × 300 pixels in two colours: a ball before a slope.
 * @param shrinking pixels of the photo for each of the map's, along each side
 */
export const showScene = (page: Page, changes: object = {}, shrinking = 1): Promise<void> =>
  page.evaluate(
    async ([given, scale]) => {
      const canvas = new OffscreenCanvas(400, 300);
      const context = canvas.getContext("2d")!;
      context.fillStyle = "rgb(40 90 200)";
      context.fillRect(0, 0, 400, 300);
      context.fillStyle = "rgb(220 60 30)";
      context.arc(200, 150, 80, 0, 7);
      context.fill();
      const photo = await createImageBitmap(canvas);
      const depth = window.studio.painting(400 / scale, 300 / scale, (x, y) =>
        Math.hypot(x * scale - 200, y * scale - 150) < 80 ? 0.9 : 0.1 + (y * scale) / 1000,
      );
      window.studio.show({ photo, depth, view: "depth", ...given });
    },
    [changes, shrinking] as const,
  );
