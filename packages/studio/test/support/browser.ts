/*
 * A real Chromium, wherever there is one.
 */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import chromiumPackage from "@sparticuz/chromium";
import { type Browser, chromium } from "playwright-core";

/** WebGL2 on the processor, so that tests run on machines without a GPU. */
const webgl = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];

/** Everything but WebGL without it: drawing the rest of a page with an emulated GPU takes five times as long. */
const software = ["--disable-gpu-compositing", "--disable-gpu-rasterization"];

const flags = ["--no-sandbox", ...webgl, ...software];

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** Places outside PATH. */
const places = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/** MFLUX_DEPTH_BROWSER, an installed Chromium or Chrome, or the one inside the package @sparticuz/chromium. */
async function browserPath(): Promise<string> {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const installed = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...places];
  return (
    process.env.MFLUX_DEPTH_BROWSER || installed.find(existsSync) || (await chromiumPackage.executablePath())
  );
}

/** Starts the browser. */
export const launchBrowser = async (): Promise<Browser> =>
  chromium.launch({ executablePath: await browserPath(), args: flags });
