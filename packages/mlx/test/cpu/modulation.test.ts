import { describe, it } from "node:test";
import { array, type MxArray, random } from "../../src/index.js";
import { native } from "../../src/load.js";
import { near, numbers, onLinux } from "../support/fused.js";

describe("fused modulation", onLinux, () => {
  it("fusedGatedAdd equals x + gate · y", () => {
    const [batch, tokens, dims] = [2, 21, 77];
    const x = random.normal([batch, tokens, dims], { key: random.key(1) });
    const y = random.normal([batch, tokens, dims], { key: random.key(2) });
    const gate = random.normal([batch, 1, dims], { key: random.key(3) });
    const [xs, ys, gates] = [numbers(x), numbers(y), numbers(gate)];
    near(
      native.fusedGatedAdd(x, gate, y),
      xs.map((v, at) => v + gates[Math.floor(at / (tokens * dims)) * dims + (at % dims)]! * ys[at]!),
    );
  });

  it("fusedNormRotate splits, normalizes and rotates heads", () => {
    for (const [batch, tokens, heads, dims, offset] of [
      [1, 1, 1, 2, 0],
      [2, 5, 3, 12, 4],
      [1, 33, 4, 128, 7],
    ] as const) {
      const x = random.normal([batch, tokens, heads * dims], { key: random.key(dims) });
      const weight = random.normal([dims], { key: random.key(5) });
      const angles = random.uniform([tokens + offset, dims / 2], { key: random.key(6), high: 6 });
      const turns = numbers(angles);
      const table = (f: (v: number) => number): MxArray =>
        array(Float32Array.from(turns, f), { shape: angles.shape });
      const [cos, sin] = [table(Math.cos), table(Math.sin)];
      const [xs, weights] = [numbers(x), numbers(weight)];
      const expected: number[] = [];
      for (let b = 0; b < batch; b++)
        for (let head = 0; head < heads; head++)
          for (let token = 0; token < tokens; token++) {
            const at = (b * tokens + token) * heads * dims + head * dims;
            const v = xs.slice(at, at + dims);
            const rms = Math.sqrt(v.reduce((a, e) => a + e * e, 0) / dims + 1e-6);
            const n = v.map((e, i) => (e / rms) * weights[i]!);
            for (let pair = 0; pair < dims / 2; pair++) {
              const angle = turns[((offset + token) * dims) / 2 + pair]!;
              expected.push(n[2 * pair]! * Math.cos(angle) - n[2 * pair + 1]! * Math.sin(angle));
              expected.push(n[2 * pair + 1]! * Math.cos(angle) + n[2 * pair]! * Math.sin(angle));
            }
          }
      near(native.fusedNormRotate(x, weight, cos, sin, heads, offset, 1e-6), expected);
    }
  });
});
