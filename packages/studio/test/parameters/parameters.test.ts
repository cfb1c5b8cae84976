import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { reencode } from "mflux-depth/images";
import { parametersIn } from "../../src/parameters/index.js";

const portrait = new Uint8Array(
  readFileSync(new URL("../../../../../docs/images/portrait.png", import.meta.url)),
);

describe("the parameters inside an image", () => {
  for (const format of ["png", "jpeg", "webp"] as const)
    test(`are found in ${format}`, async () => {
      const image = format === "png" ? portrait : await reencode(portrait, format);
      const parameters = parametersIn(image instanceof Uint8Array ? image : new Uint8Array(image));
      assert.equal(parameters!.seed, 1);
      assert.match(String(parameters!.prompt), /glossy gold portrait/);
    });

  test("are missed without an error in other files and cut ones", () => {
    const cube = new URL("../../../../../examples/images/cube.png", import.meta.url);
    assert.equal(parametersIn(new Uint8Array(readFileSync(cube))), null);
    assert.equal(parametersIn(new TextEncoder().encode("hello, this is no image")), null);
    for (let length = 0; length < 2000; length += 7) parametersIn(portrait.subarray(0, length));
  });
});
