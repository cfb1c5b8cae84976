import { describe, test } from "node:test";
import { beginWith, generate, setSteps, useStudio } from "./support/studio-page.js";

const token = "a-token-that-only-the-owner-knows";

describe("a server with a token", () => {
  const studio = useStudio({ token });

  test("is used after signing in once, in every tab and after a reload", async () => {
    const page = await studio.open();
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
    const tab = await studio.openTab(page);
    await tab.getByText("tiny-world · CPU").waitFor();
  });
});
