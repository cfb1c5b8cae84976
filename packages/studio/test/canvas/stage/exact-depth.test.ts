import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { BlobObject, JobObject } from "@mflux-depth/server/contract";
import type { Page } from "playwright-core";
import sharp from "sharp";
import type { FieldOrigin } from "../../../src/canvas/field/depth-field.js";
import { type Levels, neutralLevels } from "../../../src/canvas/field/levels.js";
import type { Size } from "../../../src/canvas/field/rectangle.js";
import { StudioServer } from "../../support/server.js";
import { inset, look, panelWidth, picture, useCanvas } from "../support/canvas-page.js";
import { fieldOf, random } from "../support/fields.js";
import { adjustedMap, normalizedMap, type Raster } from "../support/library.js";

const canvas = useCanvas({ exact: true });

/** Opens a page on which a picture of a size is drawn pixel by pixel. */
async function openFor({ width, height }: Size): Promise<Page> {
  const page = await canvas.open();
  await page.setViewportSize({ width: panelWidth + width + 2 * inset, height: height + 2 * inset });
  return page;
}

const showFile = (page: Page, npy: Buffer, origin: FieldOrigin): Promise<void> =>
  page.evaluate(
    async ([file, origin]) =>
      window.studio.show({ depth: await window.studio.npy(file, origin), view: "depth" }),
    [npy.toString("base64"), origin] as const,
  );

/** Gives the canvas a photo, whose proportions decide where the map is drawn. */
const showPhoto = (page: Page, { width, height }: Size): Promise<void> =>
  page.evaluate(
    async ([width, height]) =>
      window.studio.show({ photo: await createImageBitmap(new ImageData(width, height)) }),
    [width, height] as const,
  );

const show = (page: Page, levels: Levels): Promise<void> =>
  page.evaluate((levels) => window.studio.show({ levels }), levels);

/** The largest difference between what is seen and a map, in steps of 255. @param grey 0 to 255 by the pixel's index */
async function difference(
  page: Page,
  { width, height }: Size,
  grey: (index: number) => number,
): Promise<number> {
  const seen = await look(page);
  let most = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [r, g, b] = seen.at(inset + x, inset + y);
      if (r !== g || g !== b) assert.fail("the map is grey");
      most = Math.max(most, Math.abs(r - grey(y * width + x)));
    }
  return most;
}

describe("the depth drawn equals the library's within 1/255", () => {
  const size = { width: 400, height: 300 };
  const next = random(11);
  /** Slopes, an edge, noise, and values at both ends. */
  const map = fieldOf(size.width, size.height, (x, y) => {
    if (y < 4) return x % 2;
    const slope = x < 150 ? x / 300 : 1 - x / 500;
    return Math.min(Math.max(slope + (next() - 0.5) * (y > 200 ? 0.3 : 0.01), 0), 1);
  });
  const waves = (width: number, height: number): Raster => {
    const { values } = fieldOf(
      width,
      height,
      (x, y) => 3 + Math.sin(x / 9) + Math.cos(y / 7) + (x > width / 2 ? 2 : 0),
    );
    return { width, height, channels: 1, data: values };
  };

  const manyLevels: readonly Levels[] = [
    neutralLevels,
    { ...neutralLevels, invert: true },
    { near: 97, far: 3, gamma: 1, invert: false },
    { near: 80, far: 30, gamma: 2.2, invert: false },
    { near: 100, far: 10, gamma: 0.4, invert: true },
  ];

  /** Shows values as the server's `.npy` file has them, and compares them at many levels with the library's. */
  async function compare(
    page: Page,
    { data, width, height }: Raster,
    origin: FieldOrigin,
    expected: (levels: Levels) => Raster,
  ): Promise<void> {
    const header = `${`{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`.padEnd(117)}\n`;
    const prefix = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0]);
    await showFile(page, Buffer.concat([prefix, Buffer.from(header), Buffer.from(data.buffer)]), origin);
    for (const levels of manyLevels) {
      await show(page, levels);
      const wanted = expected(levels);
      const most = await difference(page, size, (i) => 255 * wanted.data[i]!);
      assert.ok(most <= 1, `${JSON.stringify(levels)}: ${most}`);
    }
  }

  const compareEstimate = (page: Page, inverse: Raster): Promise<void> =>
    compare(page, inverse, "estimate", (levels) =>
      normalizedMap(inverse, size.width, size.height, "a photo", levels),
    );

  test("for a given map", async () => {
    const raster = { ...size, channels: 1, data: map.values };
    await compare(await openFor(size), raster, "given", (levels) => adjustedMap(raster, "a map", levels));
  });

  test("for an estimate at its own size", async () => {
    const data = map.values.map((value) => 7 * value - 2);
    await compareEstimate(await openFor(size), { ...size, channels: 1, data });
  });

  test("for an estimate that the server shrinks", async () => {
    const page = await openFor(size);
    await showPhoto(page, size);
    await compareEstimate(page, waves(640, 640));
  });

  test("for an estimate that the server enlarges", async () => {
    await compareEstimate(await openFor(size), waves(160, 120));
  });
});

describe("the depth drawn equals the server's within 1/255", () => {
  const size = { width: 400, height: 304 };
  const levels: Levels = { near: 93, far: 6, gamma: 1.7, invert: true };
  let server: StudioServer;
  before(async () => {
    server = await StudioServer.start();
  });
  after(() => server.close());

  const bytesOf = async (path: string, options?: RequestInit): Promise<Buffer> => {
    const response = await fetch(server.url + path, options);
    assert.equal(response.status, 200, path);
    return Buffer.from(await response.arrayBuffer());
  };

  /** The largest difference of what is seen from a picture of the server, in steps of 255. */
  async function differenceFrom(page: Page, file: Buffer): Promise<number> {
    const greys = await sharp(file).toColourspace("b-w").raw().toBuffer();
    assert.equal(greys.length, size.width * size.height);
    return difference(page, size, (i) => greys[i]!);
  }

  test("for an estimate, adjusted", async () => {
    const body = await sharp(Buffer.from(await picture("examples/images/coffee.jpg"), "base64"))
      .resize(size.width, size.height, { fit: "fill" })
      .png()
      .toBuffer();
    const estimate = { method: "POST", body: new Uint8Array(body) };
    const raw = await bytesOf("/v1/depth?format=npy&raw=true", estimate);
    const { near, far, gamma, invert } = levels;
    const adjusted = await bytesOf(
      `/v1/depth?format=png&near=${near}&far=${far}&gamma=${gamma}&invert=${invert}`,
      estimate,
    );
    const page = await openFor(size);
    await showPhoto(page, size);
    await showFile(page, raw, "estimate");
    await show(page, levels);
    const most = await differenceFrom(page, adjusted);
    assert.ok(most <= 1, `${most}`);
  });

  test("for a given map, as a job uses it", async () => {
    const { width, height } = size;
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
    const page = await openFor(size);
    await showFile(page, await bytesOf(`/v1/blobs/${blob.id}/map`), "given");
    await show(page, levels);
    const most = await differenceFrom(page, await bytesOf(`/v1/jobs/${job.id}/depth?format=png`));
    assert.ok(most <= 1, `${most}`);
  });
});
