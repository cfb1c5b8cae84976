/*
 * A finger, as the browser gets it from a screen: Playwright itself only taps.
 */
import type { Locator, Page } from "playwright-core";

/** Draws with a finger across the middle of an element. @param by how far, in CSS pixels, to both sides of the middle */
export async function swipe(
  page: Page,
  over: Locator,
  by: { readonly x: number; readonly y: number },
): Promise<void> {
  const { x, y, width, height } = (await over.boundingBox())!;
  const at = (share: number) => [{ x: x + width / 2 + by.x * share, y: y + height / 2 + by.y * share }];
  const screen = await page.context().newCDPSession(page);
  await screen.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: at(-1) });
  for (let step = -4; step <= 5; step++)
    await screen.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: at(step / 5) });
  await screen.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await screen.detach();
}
