import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fitLinearMap, fitSumsOf } from "../../../src/pipeline/previews/least-squares.js";
import { largestDifference } from "../../support/images.js";

/** Irregular numbers from −1 to 1. */
const numbers = (count: number, seed: number): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i + 78.233 * i * i));

describe("fitLinearMap", () => {
  const [rows, terms, results] = [300, 4, 2];
  const inputs = numbers(rows * terms, 1);
  const map = Float64Array.of(1, -2, 0.5, 3, 0, 4, -1, 0.25);
  const targets = Float64Array.from({ length: rows * results }, (_, i) => {
    const [row, result] = [Math.floor(i / results), i % results];
    let sum = 0;
    for (let term = 0; term < terms; term++)
      sum += inputs[row * terms + term]! * map[term * results + result]!;
    return sum;
  });

  const size = { terms, results };
  const fitted = (from: Float64Array, to: Float64Array): Float64Array =>
    fitLinearMap([fitSumsOf(from, to, size)]);

  test("finds the map behind exact targets", () => {
    assert.ok(largestDifference(fitted(inputs, targets), map) < 0.02);
  });

  test("averages over noise", () => {
    const noise = numbers(targets.length, 5);
    const noisy = targets.map((value, i) => value + 0.2 * noise[i]!);
    assert.ok(largestDifference(fitted(inputs, noisy), map) < 0.1);
  });

  test("gives the same map for samples that were added up in several sets", () => {
    const part = (from: number, to?: number) =>
      fitSumsOf(
        inputs.slice(from * terms, to && to * terms),
        targets.slice(from * results, to && to * results),
        size,
      );
    const apart = fitLinearMap([part(0, 100), part(100, 120), part(120)]);
    assert.ok(largestDifference(apart, fitted(inputs, targets)) < 1e-12);
  });

  test("stays finite where terms depend on each other", () => {
    const same = inputs.map((_, i) => inputs[i - (i % terms)]!);
    assert.ok(fitted(same, targets).every(Number.isFinite));
  });
});
