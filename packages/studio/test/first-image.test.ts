import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { parametersIn } from "../src/parameters/index.js";
import { beginWith, generate, setSteps, useStudio } from "./support/studio-page.js";

describe("the first image", () => {
  const studio = useStudio();

  test("is two clicks away from a sample scene", async () => {
    const page = await studio.open();
    await beginWith(page, "Bust");
    await setSteps(page, 4);
    await generate(page);
    const [job] = await studio.server.jobs();
    assert.equal(job!.state, "succeeded");
    assert.equal(job!.request.width, 256);
    assert.match(String(job!.request.prompt), /gold portrait/);
  });

  test("asks no other origin, and comes with less than 200 kB of script", async () => {
    const page = await studio.open();
    const asked: string[] = [];
    const scripts: Promise<Buffer>[] = [];
    page.on("request", (request) => asked.push(request.url()));
    page.on("response", (response) => {
      if (response.request().resourceType() === "script") scripts.push(response.body());
    });
    await page.reload();
    await beginWith(page, "Bust");
    await setSteps(page, 1);
    await generate(page);
    const others = asked.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(studio.server.url));
    assert.deepEqual(others, []);
    const sizes = (await Promise.all(scripts)).map((script) => gzipSync(script).length);
    assert.ok(sizes.length > 0);
    const total = sizes.reduce((sum, size) => sum + size);
    assert.ok(total < 200_000, `${total} bytes`);
  });

  test("is downloaded with its parameters inside", async () => {
    const page = await studio.open();
    await beginWith(page, "Sculpture");
    await setSteps(page, 2);
    await generate(page);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download" }).click(),
    ]);
    assert.match(download.suggestedFilename(), /^an-abstract-sculpture-in-glossy-teal-\d+\.png$/);
    const parameters = parametersIn(new Uint8Array(await readFile(await download.path())));
    assert.equal(parameters!.steps, 2);
  });
});
