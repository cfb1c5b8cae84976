import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ComponentUse, lifetimesOf } from "../../src/memory/lifetimes.js";

const use = (...components: string[]): ComponentUse => ({ components });

/** The components held during each use and those released after it: "vae transformer -transformer". */
const heldAndReleased = (uses: readonly ComponentUse[], policy: "resident" | "low"): string[] =>
  lifetimesOf(uses, policy).map(({ held, released }) => `${held.join(" ")} -${released.join(" ")}`);

describe("lifetimes of components", () => {
  const generation = [use("clip"), use("t5"), use("vae"), use("transformer"), use("vae")];

  test("resident keeps every component", () => {
    assert.deepEqual(heldAndReleased(generation, "resident"), [
      "clip -",
      "clip t5 -",
      "clip t5 vae -",
      "clip t5 vae transformer -",
      "clip t5 vae transformer -",
    ]);
  });

  test("low holds only the components in use", () => {
    assert.deepEqual(heldAndReleased(generation, "low"), [
      "clip -clip",
      "t5 -t5",
      "vae -vae",
      "transformer -transformer",
      "vae -vae",
    ]);
  });

  test("low keeps a component that the next use needs again", () => {
    const previews = [use("vae"), use("transformer", "vae"), use("vae")];
    assert.deepEqual(heldAndReleased(previews, "low"), ["vae -", "vae transformer -transformer", "vae -vae"]);
  });

  test("transient components are released under every policy", () => {
    const uses = [use("t5"), { ...use("depth"), transient: true }, use("vae")];
    assert.deepEqual(heldAndReleased(uses, "resident"), ["t5 -", "t5 depth -depth", "t5 vae -"]);
  });
});
