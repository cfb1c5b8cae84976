/*
 * Which components are in memory when. A stage says which components it uses; the memory policy decides how long they
 * stay. The runner loads and frees by these rules, and the planner adds up memory by the same ones.
 */
import type { MemoryPolicy } from "../options/index.js";

/** Components that one stage holds at the same time. A stage may have several such uses, one after another. */
export interface ComponentUse {
  /** The stage's name. */
  readonly stage: string;
  readonly components: readonly string[];
  /** Released right after the use under every policy, because the next generation rarely needs them again. */
  readonly transient?: boolean;
}

/** What is in memory during a use. */
export interface Lifetime {
  readonly use: ComponentUse;
  /** Components held during the use: its own, and those kept from earlier ones. */
  readonly held: readonly string[];
  /** Components to free when the use ends. */
  readonly released: readonly string[];
}

/** Decides the lifetimes of components over a list of uses, in their order. */
export function lifetimesOf(uses: readonly ComponentUse[], policy: MemoryPolicy): Lifetime[] {
  let kept: readonly string[] = [];
  return uses.map((use, index) => {
    const held = [...new Set([...kept, ...use.components])];
    // Under "low", a component stays only when the very next use needs it: reading it twice would cost more.
    const needed = uses[index + 1]?.components ?? [];
    kept = held.filter(
      (name) =>
        !(use.transient && use.components.includes(name)) && (policy === "resident" || needed.includes(name)),
    );
    return { use, held, released: held.filter((name) => !kept.includes(name)) };
  });
}
