import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { BlobObject, JobObject } from "@mflux-depth/server/contract";
import type { Page } from "playwright-core";
import sharp from "sharp";
import type { FieldOrigin } from "../../../src/canvas/field/depth-field.js";
import type { Levels } from "../../../src/canvas/field/levels.js";
import { StudioServer } from "../../support/server.js";
import { inset, look, panelWidth, picture, useCanvas } from "../support/canvas-page.js";
import { fieldOf } from "../support/fields.js";

const canvas = useCanvas();
let server: StudioServer;
before(async () => {
  server = await StudioServer.start();
});
after(() => server.close());

const [width, height] = [400, 304];
const levels: Levels = { near: 93, far: 6, gamma: 1.7, invert: true };

const bytesOf = async (path: string, options?: RequestInit): Promise<Buffer> => {
  const response = await fetch(server.url + path, options);
  assert.equal(response.status, 200, path);
  return Buffer.from(await response.arrayBuffer());
};

/** Shows a map of the server and finds the largest difference from the server's picture of it, in steps of 255. */
async function difference(page: Page, npy: Buffer, origin: FieldOrigin, expected: Buffer): Promise<number> {
  await page.setViewportSize({ width: panelWidth + width + 2 * inset, height: height + 2 * inset });
  await page.evaluate(
    async ([file, origin, levels]) =>
      window.studio.show({ depth: await window.studio.npy(file, origin), view: "depth", levels }),
    [npy.toString("base64"), origin, levels] as const,
  );
  const seen = await look(page);
  const greys = await sharp(expected).toColourspace("b-w").raw().toBuffer();
  assert.equal(greys.length, width * height);
  let most = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      most = Math.max(most, Math.abs(seen.at(inset + x, inset + y)[0] - greys[y * width + x]!));
  return most;
}

test("an estimate is drawn as the server adjusts it, within 1/255", async () => {
  const body = await sharp(Buffer.from(await picture("examples/images/coffee.jpg"), "base64"))
    .resize(width, height, { fit: "fill" })
    .png()
    .toBuffer();
  const estimate = { method: "POST", body: new Uint8Array(body) };
  const raw = await bytesOf("/v1/depth?format=npy&raw=true", estimate);
  const { near, far, gamma, invert } = levels;
  const adjusted = await bytesOf(
    `/v1/depth?format=png&near=${near}&far=${far}&gamma=${gamma}&invert=${invert}`,
    estimate,
  );
  const page = await canvas.open();
  // The photo's proportions decide where the map is drawn.
  await page.evaluate(
    async (file) => window.studio.show({ photo: await window.studio.picture(file) }),
    body.toString("base64"),
  );
  const most = await difference(page, raw, "estimate", adjusted);
  assert.ok(most <= 1, `${most}`);
});

test("a given map is drawn as a job uses it, within 1/255", async () => {
  const map = fieldOf(width, height, (x, y) => 0.1 + 0.7 * Math.sin(x / 60) ** 2 * (y / height));
  const file = await sharp(
    Uint16Array.from(map.values, (value) => value * 65535),
    {
      raw: { width, height, channels: 1 },
    },
  )
    .toColourspace("grey16")
    .png()
    .toBuffer();
  const blob = await server.ask<BlobObject>("/v1/blobs", { method: "POST", body: new Uint8Array(file) });
  const job = await server.ask<JobObject>("/v1/jobs?wait=120", {
    method: "POST",
    body: JSON.stringify({
      kind: "generate",
      request: {
        ...{ prompt: "a hill", depth_image: { blob: blob.id }, width, height, steps: 1, seed: 1 },
        ...{ depth_near: levels.near, depth_far: levels.far, depth_gamma: levels.gamma },
        invert_depth: levels.invert,
      },
    }),
  });
  assert.equal(job.state, "succeeded", JSON.stringify(job.error));
  const page = await canvas.open();
  const npy = await bytesOf(`/v1/blobs/${blob.id}/map`);
  const most = await difference(page, npy, "given", await bytesOf(`/v1/jobs/${job.id}/depth?format=png`));
  assert.ok(most <= 1, `${most}`);
});
