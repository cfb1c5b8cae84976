import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ComponentUse, lifetimesOf } from "../../src/memory/lifetimes.js";

const use = (stage: string, ...components: string[]): ComponentUse => ({ stage, components });

const heldAndReleased = (uses: readonly ComponentUse[], policy: "resident" | "low"): string[] =>
  lifetimesOf(uses, policy).map(
    ({ use: { stage }, held, released }) => `${stage}: ${held.join(" ")} -${released.join(" ")}`,
  );

describe("lifetimes of components", () => {
  const generation = [
    use("text", "clip"),
    use("text", "t5"),
    use("control", "vae"),
    use("denoise", "transformer"),
    use("decode", "vae"),
  ];

  test("resident keeps every component", () => {
    assert.deepEqual(heldAndReleased(generation, "resident"), [
      "text: clip -",
      "text: clip t5 -",
      "control: clip t5 vae -",
      "denoise: clip t5 vae transformer -",
      "decode: clip t5 vae transformer -",
    ]);
  });

  test("low holds only the components in use", () => {
    assert.deepEqual(heldAndReleased(generation, "low"), [
      "text: clip -clip",
      "text: t5 -t5",
      "control: vae -vae",
      "denoise: transformer -transformer",
      "decode: vae -vae",
    ]);
  });

  test("low keeps a component that the next use needs again", () => {
    const previews = [use("control", "vae"), use("denoise", "transformer", "vae"), use("decode", "vae")];
    assert.deepEqual(heldAndReleased(previews, "low"), [
      "control: vae -",
      "denoise: vae transformer -transformer",
      "decode: vae -vae",
    ]);
  });

  test("transient components are released under every policy", () => {
    const uses = [use("text", "t5"), { ...use("depth", "depth"), transient: true }, use("control", "vae")];
    assert.deepEqual(heldAndReleased(uses, "resident"), [
      "text: t5 -",
      "depth: t5 depth -depth",
      "control: t5 vae -",
    ]);
  });
});
