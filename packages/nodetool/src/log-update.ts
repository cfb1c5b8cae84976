import { definition } from "./definition.js";
import type { Properties } from "./sdk.js";

/** The line about a seed that the run did not get from its user. */
export const drawnSeed = (seed: number | null): string => `Seed ${seed} was drawn.`;

/** A line for the user's log, as NodeTool's nodes send it. @param node the node's id in its workflow; blank when unknown. */
export const logUpdate = (node: string, content: string, severity: "info" | "warning"): Properties => ({
  type: "log_update",
  ...(node !== "" && { node_id: node }),
  node_name: definition.title,
  content,
  severity,
});
