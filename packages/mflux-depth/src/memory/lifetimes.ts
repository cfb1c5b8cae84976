/*
 * The lifetimes of components. A stage declares the components that it uses; the memory policy decides how long they
 * stay in memory. The runner loads and frees by these lifetimes, and the planner adds up memory by the same ones.
 */
import type { MemoryPolicy } from "../options/index.js";

/** Components that a stage holds at the same time. A stage can have several uses, one after another. */
export interface ComponentUse<Name extends string = string> {
  readonly components: readonly Name[];
  /** Free the components after this use under every policy, because the next generation rarely needs them. */
  readonly transient?: boolean;
}

/** The components in memory during a use. */
export interface Lifetime<Name extends string = string> {
  readonly use: ComponentUse<Name>;
  /** Components held during the use: its own, and those kept from earlier uses. */
  readonly held: readonly Name[];
  /** Components to free when the use ends. */
  readonly released: readonly Name[];
}

/** Whether caches keep the outputs of stages for the next generation. */
export const keepsOutputs = (policy: MemoryPolicy): boolean => policy === "resident";

/** Decides the lifetimes of components over a sequence of uses. */
export function lifetimesOf<Name extends string>(
  uses: readonly ComponentUse<Name>[],
  policy: MemoryPolicy,
): Lifetime<Name>[] {
  let kept: readonly Name[] = [];
  return uses.map((use, index) => {
    const held = [...new Set([...kept, ...use.components])];
    // Under "low", keep a component only if the very next use needs it, because reading it twice would take longer.
    const needed = uses[index + 1]?.components ?? [];
    kept = held.filter(
      (name) =>
        !(use.transient && use.components.includes(name)) && (policy === "resident" || needed.includes(name)),
    );
    return { use, held, released: held.filter((name) => !kept.includes(name)) };
  });
}
