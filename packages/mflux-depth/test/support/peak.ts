import assert from "node:assert/strict";
import { memory } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import type { Component } from "../../src/weights/component.js";

/** Requires that loading a component takes no more memory than its size says. It is freed again. */
export async function requirePlannedPeak(component: Component<Module>): Promise<void> {
  const { bytes, reading } = component.size();
  memory.clearCache();
  const before = memory.activeMemory();
  memory.resetPeakMemory();
  await component.get();
  const peak = memory.peakMemory() - before;
  component.free();
  // Each array is rounded up to the allocator's granularity.
  assert.ok(peak <= bytes + reading + 1e5, `${peak} bytes at most, ${bytes} + ${reading} planned`);
}
