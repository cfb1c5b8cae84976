/*
 * A real Chromium, wherever there is one.
 */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import chromiumPackage from "@sparticuz/chromium";
import type { Browser } from "playwright-core";

import playwright = require("playwright-core");

/** WebGL2 on the processor, so that tests run on machines without a GPU. */
const webgl = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];

/** Everything but WebGL without it: composing the rest of a page with an emulated GPU takes five times as long. */
const software = ["--disable-gpu-compositing", "--disable-gpu-rasterization"];

/** Each window would render two hidden pages for the suggestions of its address bar, which cost more than the studio. */
const addressBar = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"];

/** The features that Playwright disables and that matter for local pages. Chromium reads only the last list it is given. */
const playwrightsOwn = [
  "AimEnabled",
  "AvoidUnnecessaryBeforeUnloadCheckSync",
  "DestroyProfileOnBrowserClose",
  "HttpsFirstBalancedModeAutoEnable",
  "HttpsUpgrades",
  "LensOverlay",
  "MediaRouter",
  "NetworkTimeServiceQuerying",
  "OptimizationHints",
  "PaintHolding",
  "PreconnectToSearch",
  "ThirdPartyStoragePartitioning",
];

/** The first has no windows of its own, and takes an eighth less processor time. */
const names = [
  "chromium-headless-shell",
  "chromium",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
  "chrome",
];

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

export interface BrowserOptions {
  /** Composes pages as a GPU does, to the pixel. */
  readonly exact?: boolean;
}

/** Starts the browser. */
export const launchBrowser = async ({ exact = false }: BrowserOptions = {}): Promise<Browser> =>
  playwright.chromium.launch({
    executablePath: await browserPath(),
    args: [
      "--no-sandbox",
      `--disable-features=${[...addressBar, ...playwrightsOwn].join()}`,
      ...webgl,
      ...(exact ? [] : software),
    ],
  });
