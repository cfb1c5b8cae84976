import type { DepthEstimator } from "../depth/estimator.js";
import type { Bits } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import type { Model } from "./model.js";
import type { StageComponentName, StageComponents } from "./stage.js";

/** A component as the runner and the planner handle it: weights that can be loaded, freed and measured. */
interface Lendable<Network> {
  /** Returns the network, ready to compute. */
  get(signal: AbortSignal): Promise<Network>;
  free(): void;
  /** The size of its weights with matrices of some bits; null if they are not quantized. */
  size(bits: Bits | null): HeldSize;
}

type Lendables = { readonly [Name in StageComponentName]: Lendable<StageComponents[Name]> };

/**
 * The components that stages borrow, by name.
 * @param estimator the depth estimator; without one, `depth` has no size and cannot be borrowed.
 */
export const lendables = ({ components }: Model, estimator: DepthEstimator | null): Lendables => ({
  ...components,
  depth: {
    // The estimator reads its weights itself, and only for a photo that it has not just estimated.
    async get() {
      if (!estimator) throw new Error("a stage borrows the depth estimator of a generation without one");
      return estimator;
    },
    free: () => estimator?.free(),
    size: () => estimator?.size() ?? { bytes: 0, reading: 0 },
  },
});
