import type { Module } from "@mflux-depth/mlx/nn";
import type { DepthEstimator } from "../depth/estimator.js";
import type { Bits } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import type { Model } from "./model/model.js";
import { estimatorName } from "./stage.js";

/** A component seen by the runner and the planner: weights that can be loaded, freed and measured. */
interface Lendable<Network> {
  /** Returns the network, ready to compute. */
  get(signal: AbortSignal): Promise<Network>;
  free(): void;
  /** The size of its weights with matrices of the given bits; null if they are not quantized. */
  size(bits: Bits | null): HeldSize;
}

/**
 * Finds by name a component that stages borrow.
 * @param estimator the depth estimator; without one, its name has no size and cannot be borrowed.
 */
export function lendable(
  name: string,
  { components }: Model,
  estimator: DepthEstimator | null,
): Lendable<Module | DepthEstimator> {
  const component = components[name];
  if (component) return component;
  if (name === estimatorName) return lendableEstimator(estimator);
  throw new Error(`the model has no component ${name}; it has ${Object.keys(components).join(", ")}`);
}

const lendableEstimator = (estimator: DepthEstimator | null): Lendable<DepthEstimator> => ({
  // The estimator reads its own weights, and only for a photo other than the last.
  async get() {
    if (!estimator) throw new Error("a stage borrows the depth estimator of a generation without one");
    return estimator;
  },
  free: () => estimator?.free(),
  size: () => estimator?.size() ?? { bytes: 0, reading: 0 },
});
