import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import preact from "@preact/preset-vite";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { createServer } from "vite";

const repository = fileURLToPath(new URL("../../../../../../", import.meta.url));

/** Chromium with WebGL2 on the processor, so that tests run on machines without a GPU. */
const flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];

export interface CanvasPages {
  /** Opens the page of the canvas. Errors of the page fail the test that waits for anything of it. */
  open(options?: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
}

/** Serves the page `test/canvas/page` and starts a browser for it. */
export async function startCanvasPages(): Promise<CanvasPages> {
  const studio = `${repository}packages/studio`;
  const server = await createServer({
    configFile: false,
    root: `${studio}/test/canvas/page`,
    cacheDir: `${studio}/dist/vite`,
    server: { port: 0, host: "127.0.0.1", fs: { allow: [repository] }, hmr: false, watch: null },
    logLevel: "error",
    plugins: [preact()],
  });
  await server.listen();
  const browser: Browser = await chromium.launch({
    executablePath: process.env.MFLUX_DEPTH_BROWSER ?? "/usr/bin/chromium",
    args: flags,
  });
  return {
    open: async (options) => {
      const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
      const page = await context.newPage();
      page.on("pageerror", (error) => {
        throw error;
      });
      await page.goto(server.resolvedUrls!.local[0]!);
      await page.waitForFunction(() => "studio" in window);
      return page;
    },
    close: async () => {
      await browser.close();
      await server.close();
    },
  };
}

/** A picture of the repository in base64. @param path relative to the repository */
export const picture = async (path: string): Promise<string> =>
  (await readFile(`${repository}${path}`)).toString("base64");
