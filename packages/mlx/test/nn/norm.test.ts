import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { add, astype, type MxArray, multiply, random, reshape } from "../../src/index.js";
import { GroupNorm, LayerNorm, RMSNorm, randomize } from "../../src/nn/index.js";
import { assertClose, normal, relativeError, values } from "../support/numbers.js";

describe("norms", () => {
  // At an RMS of 1e-3, an eps of 1e-6 is as large as the variance: a wrong eps changes the result by tens of percent.
  const small = normal([3, 7, 48], 1, 1e-3, 5e-4);

  const layerNorm = (x: Float32Array, dims: number, eps: number): Float64Array => {
    const out = new Float64Array(x.length);
    for (let row = 0; row < x.length; row += dims) {
      const part = x.subarray(row, row + dims);
      const mean = part.reduce((sum, v) => sum + v, 0) / dims;
      const variance = part.reduce((sum, v) => sum + (v - mean) ** 2, 0) / dims;
      for (const [i, v] of part.entries()) out[row + i] = (v - mean) / Math.sqrt(variance + eps);
    }
    return out;
  };

  it("LayerNorm uses its eps", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new LayerNorm(48, { eps, affine: false });
      assert.equal(norm.parameters().size, 0);
      const error = relativeError(values(norm.forward(small)), layerNorm(values(small), 48, eps));
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("LayerNorm applies weight and bias", () => {
    const norm = new LayerNorm(48);
    randomize(norm, random.key(2), 0.5);
    const plain = new LayerNorm(48, { affine: false });
    const expected = add(multiply(plain.forward(small), norm.weight!), norm.bias!);
    assertClose(norm.forward(small), expected, 1e-6);
  });

  it("LayerNorm can have a weight without a bias", () => {
    assert.deepEqual([...new LayerNorm(48, { bias: false }).parameters().keys()], ["weight"]);
  });

  it("RMSNorm uses its eps and its weight", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new RMSNorm(48, { eps });
      randomize(norm, random.key(3), 0.5);
      const [x, weight] = [values(small), values(norm.weight)];
      const expected = new Float64Array(x.length);
      for (let row = 0; row < x.length; row += 48) {
        const part = x.subarray(row, row + 48);
        const scale = 1 / Math.sqrt(part.reduce((sum, v) => sum + v * v, 0) / 48 + eps);
        for (const [i, v] of part.entries()) expected[row + i] = v * scale * weight[i]!;
      }
      const error = relativeError(values(norm.forward(small)), expected);
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("norms of 16-bit input use float32 statistics", () => {
    // With a mean far from zero, 16-bit sums would lose the variance.
    const x = astype(normal([4, 512], 4, 1, 20), "bfloat16");
    const wide = astype(x, "float32");
    const group = new GroupNorm(2, 8);
    for (const forward of [
      (a: MxArray) => new LayerNorm(512, { affine: false }).forward(a),
      (a: MxArray) => new RMSNorm(512).forward(a),
      (a: MxArray) => reshape(group.forward(reshape(a, [4, 8, 8, 8])), [4, 512]),
    ]) {
      assert.ok(relativeError(values(astype(forward(x), "float32")), values(forward(wide))) <= 3e-3);
    }
    assert.equal(group.forward(reshape(x, [4, 8, 8, 8])).dtype, "bfloat16");
  });

  const groupNorm = (norm: GroupNorm, x: MxArray, eps: number): Float64Array => {
    const [n, h, w, c] = x.shape as [number, number, number, number];
    const [input, weight, bias] = [values(x), values(norm.weight), values(norm.bias)];
    const out = new Float64Array(input.length);
    const size = c / norm.groups;
    for (let image = 0; image < n; image++)
      for (let group = 0; group < norm.groups; group++) {
        const places: number[] = [];
        for (let at = 0; at < h * w; at++)
          for (let i = 0; i < size; i++) places.push((image * h * w + at) * c + group * size + i);
        const mean = places.reduce((sum, p) => sum + input[p]!, 0) / places.length;
        const variance = places.reduce((sum, p) => sum + (input[p]! - mean) ** 2, 0) / places.length;
        for (const p of places)
          out[p] = ((input[p]! - mean) / Math.sqrt(variance + eps)) * weight[p % c]! + bias[p % c]!;
      }
    return out;
  };

  it("GroupNorm groups neighbouring channels and uses its eps", () => {
    for (const eps of [1e-6, 1e-5]) {
      const norm = new GroupNorm(3, 12, { eps });
      randomize(norm, random.key(5), 0.5);
      const x = normal([2, 5, 7, 12], 6, 1e-3, 5e-4);
      const error = relativeError(values(norm.forward(x)), groupNorm(norm, x, eps));
      assert.ok(error <= 1e-6, `eps ${eps}: ${error}`);
    }
  });

  it("GroupNorm keeps its precision over a large image", () => {
    const norm = new GroupNorm(1, 4);
    const x = normal([1, 512, 512, 4], 7, 1, 3);
    const error = relativeError(values(norm.forward(x)), groupNorm(norm, x, 1e-5));
    assert.ok(error <= 2e-6, `${error}`);
  });

  it("GroupNorm rejects groups that do not divide the channels", () => {
    assert.throws(() => new GroupNorm(5, 12), /12 channels cannot form 5 groups/);
  });
});
