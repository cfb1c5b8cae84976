import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { beginWith, generate, setSteps, useStudio } from "./support/studio-page.js";

const token = "a-token-that-only-the-owner-knows";

describe("a server with a token", () => {
  const studio = useStudio({ token });

  test("is used after signing in once, in every tab and after a reload, and is in no copied command", async () => {
    const page = await studio.open({ permissions: ["clipboard-read", "clipboard-write"] });
    const field = page.getByLabel("Token", { exact: true });
    await field.fill("another token");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").filter({ hasText: "does not accept this token" }).waitFor();
    await field.fill(token);
    await field.press("Enter");
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await generate(page);
    await page.reload();
    await page.getByText("tiny-world · CPU").waitFor();
    await page.getByRole("button", { name: /^Cop/ }).click();
    await page.getByRole("menuitem", { name: "curl" }).click();
    await page.getByRole("status").filter({ hasText: "Copied" }).waitFor({ state: "attached" });
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /--header "Authorization: Bearer \$MFLUX_DEPTH_TOKEN"/);
    assert.doesNotMatch(copied, new RegExp(token));
    const tab = await studio.openTab(page);
    await tab.getByText("tiny-world · CPU").waitFor();
  });
});
