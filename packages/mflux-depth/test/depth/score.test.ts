import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import sharp from "sharp";
import { score } from "../../src/depth/score.js";
import { ImageError, ModelError, OptionError } from "../../src/errors.js";
import { encodeImage } from "../../src/images/encode.js";
import { at } from "../support/tensors.js";

const example = (name: string): string => at(`../../examples/images/${name}.png`);
const tiny = { depthModel: "tiny-world", offline: true };

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-score-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("score", () => {
  test("is better for the image's own map than for another", async () => {
    const own = await score(example("room"), { depth: example("room_depth"), ...tiny });
    const other = await score(example("room"), { depth: example("cube_depth"), ...tiny });
    assert.ok(own.rmse < other.rmse && own.absRel < other.absRel);
    assert.ok(own.correlation > 0.9 && own.correlation > other.correlation);
    assert.ok(own.edgeF1 > other.edgeF1);
  });

  test("finds an image equal to the photo that it is", async () => {
    const { rmse, correlation, edgeF1 } = await score(example("room"), { photo: example("room"), ...tiny });
    assert.ok(rmse < 0.01 && correlation > 0.999999 && edgeF1 === 1);
  });

  describe("of an image whose parameters name the map", () => {
    /** The example's pixels, with parameters. */
    async function imageFrom(map: Uint8Array, parameters: object): Promise<Uint8Array> {
      const { data, info } = await sharp(example("room"))
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      const depth_image_sha256 = createHash("sha256").update(map).digest("hex");
      return encodeImage(
        { data, width: info.width, height: info.height, channels: 3 },
        "png",
        JSON.stringify({ depth_source: "map", depth_image_sha256, ...parameters }),
      );
    }
    const own = () => score(example("room"), { depth: example("room_depth"), ...tiny });

    test("inverts the map as it was inverted for the image", async () => {
      const depth = await sharp(example("room_depth")).negate({ alpha: false }).png().toBuffer();
      const image = await imageFrom(depth, { depth_inverted: true });
      const { rmse } = await score(image, { depth, ...tiny });
      assert.ok(Math.abs(rmse - (await own()).rmse) < 0.01);
    });

    test("cuts the map as it was cut for the image", async () => {
      const depth = await sharp(example("room_depth"))
        .extend({ left: 128, right: 128, background: "white" })
        .png()
        .toBuffer();
      const { rmse } = await score(await imageFrom(depth, { fit: "crop" }), { depth, ...tiny });
      assert.ok(Math.abs(rmse - (await own()).rmse) < 0.01);
    });

    test("takes another map unchanged", async () => {
      const depth = await sharp(example("room_depth")).png().toBuffer();
      const image = await imageFrom(new Uint8Array(), { depth_inverted: true });
      assert.equal((await score(image, { depth, ...tiny })).rmse, (await own()).rmse);
    });

    test("takes the map unchanged if the parameters make no sense", async () => {
      const depth = await sharp(example("room_depth")).png().toBuffer();
      const image = await imageFrom(depth, { fit: "shrink", depth_near: "far" });
      assert.equal((await score(image, { depth, ...tiny })).rmse, (await own()).rmse);
    });
  });

  test("lets another estimator judge", async () => {
    const depthModel = at("test/golden/depth_anything");
    const fidelity = await score(example("cube"), { depth: example("cube_depth"), depthModel });
    assert.equal(fidelity.depthModel, depthModel);
    assert.ok(Number.isFinite(fidelity.rmse));
  });

  test("lets Depth Anything judge an image of unknown origin, which it must have", () =>
    assert.rejects(
      score(example("cube"), { depth: example("cube_depth"), offline: true }),
      (error) => error instanceof ModelError && /Depth-Anything-V2-Small-hf/.test(error.message),
    ));

  test("shows in a heatmap of the image's size where depth departs", async () => {
    const fidelity = await score(example("cube"), { depth: example("room_depth"), ...tiny });
    const path = await fidelity.saveHeatmap(join(folder, "heat.png"));
    const { width, height, channels } = await sharp(path).metadata();
    assert.deepEqual([width, height, channels], [256, 256, 3]);
    const { data } = fidelity.heatmap();
    const pixels = Array.from(
      { length: width! * height! },
      (_, i) => [data[3 * i]!, data[3 * i + 2]!] as const,
    );
    // Red where the image is nearer, blue where it is farther, grey elsewhere.
    assert.ok(pixels.some(([red, blue]) => red > blue + 80) && pixels.some(([red, blue]) => blue > red + 80));
  });

  const refused: [string, () => Promise<unknown>, RegExp][] = [
    ["nothing to compare with", () => score(example("cube"), tiny), /needs depth.*or photo/],
    [
      "both a map and a photo",
      () => score(example("cube"), { ...tiny, depth: example("cube_depth"), photo: example("cube") }),
      /leave one out/,
    ],
    [
      "an unknown option",
      () => score(example("cube"), { ...tiny, photos: example("cube") } as never),
      /photos.*photo/,
    ],
  ];
  for (const [what, run, message] of refused)
    test(`refuses ${what}`, () =>
      assert.rejects(run(), (error) => error instanceof OptionError && message.test(error.message)));

  test("says that an image is missing", () =>
    assert.rejects(score("missing.png", { ...tiny, photo: example("cube") }), ImageError));

  test("ends with the signal's reason", () =>
    assert.rejects(
      score(example("cube"), {
        ...tiny,
        photo: example("cube"),
        signal: AbortSignal.abort(new Error("enough")),
      }),
      /^Error: enough$/,
    ));
});
