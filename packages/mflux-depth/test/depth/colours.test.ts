import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { toColours } from "../../src/depth/colours.js";
import { drawn } from "../support/images.js";

describe("toColours", () => {
  const steps = 33;
  const rgb = toColours(drawn(steps, 1, (x) => x / (steps - 1)));
  // Lightness by the CIE's formula, not by the one that chose the colours.
  const lightness = Array.from({ length: steps }, (_, i) => {
    const [r, g, b] = [0, 1, 2].map((c) => {
      const v = rgb[3 * i + c]! / 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 116 * Math.cbrt(0.2126 * r! + 0.7152 * g! + 0.0722 * b!) - 16;
  });

  test("goes from dark to light", () => {
    assert.ok(lightness[0]! < 15 && lightness.at(-1)! > 85, `${lightness[0]} to ${lightness.at(-1)}`);
  });

  test("becomes lighter evenly", () => {
    const rises = lightness.slice(1).map((l, i) => l - lightness[i]!);
    assert.ok(Math.min(...rises) > 0.5 * Math.max(...rises), `${rises.map((r) => r.toFixed(2))}`);
  });
});
