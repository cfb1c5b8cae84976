import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findAlternatives, type MemorySettings } from "../../src/memory/alternatives.js";

const requested: MemorySettings = { memory: "resident", bits: null, width: 1536, height: 768 };

/** Weights of 160 in 16 bits, halved by "low", and one for each 64 × 64 pixels of the image. */
const peakOf = ({ memory, bits, width, height }: MemorySettings): number =>
  10 * (bits ?? 16) * (memory === "low" ? 0.5 : 1) + (width * height) / 4096;

// As requested: 160 + 288 = 448.
const find = (available: number, settings = requested, bitsAreFixed = false) =>
  findAlternatives(settings, peakOf, { available, bitsAreFixed, sizeMultiple: 16 });

describe("findAlternatives", () => {
  test("offers fewer bits, or low memory alone, where either is enough", () => {
    assert.deepEqual(find(370), [
      { quantize: 8, peak: 368 },
      { memory: "low", peak: 368 },
    ]);
  });

  test("offers the most bits that fit", () => {
    assert.deepEqual(find(340), [
      { quantize: 5, peak: 338 },
      { memory: "low", quantize: 8, peak: 328 },
    ]);
  });

  test("offers nothing greater than low memory alone for weights that are stored quantized", () => {
    assert.deepEqual(find(330, { ...requested, bits: 8 }, true), [{ memory: "low", peak: 328 }]);
  });

  test("keeps the bits of weights that are stored quantized", () => {
    assert.deepEqual(find(100, { ...requested, bits: 8 }, true), [
      { memory: "low", width: 512, height: 256, peak: 72 },
    ]);
  });

  test("keeps low memory", () => {
    assert.deepEqual(find(330, { ...requested, memory: "low" }), [{ quantize: 8, peak: 328 }]);
  });

  test("reduces the size only if nothing else is enough", () => {
    // At 1024 × 512, the image takes 128.
    const found = find(200);
    assert.deepEqual(found, [
      { quantize: 6, width: 1024, height: 512, peak: 188 },
      { memory: "low", quantize: 8, width: 1024, height: 512, peak: 168 },
    ]);
  });

  test("keeps the proportions, in multiples of the model's size", () => {
    const settings = { ...requested, width: 1000, height: 700 };
    const [first] = findAlternatives(settings, ({ width }) => width, {
      available: 800,
      bitsAreFixed: true,
      sizeMultiple: 32,
    });
    assert.deepEqual(first, { width: 768, height: 512, peak: 768 });
  });

  test("offers nothing if nothing is enough", () => {
    assert.deepEqual(find(10), []);
  });
});
