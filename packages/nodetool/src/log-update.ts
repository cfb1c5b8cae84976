import { definition } from "./definition.js";
import type { Properties } from "./sdk.js";

/** The log line about a seed that the user did not choose. */
export const drawnSeed = (seed: number | null): string => `Seed ${seed} was drawn.`;

/** A line for the user's log, in NodeTool's format. @param node the node's id in its workflow; blank if unknown. */
export const logUpdate = (node: string, content: string, severity: "info" | "warning"): Properties => ({
  type: "log_update",
  ...(node !== "" && { node_id: node }),
  node_name: definition.title,
  content,
  severity,
});
