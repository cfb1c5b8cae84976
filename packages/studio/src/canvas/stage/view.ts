/** What the stage can show. */
export type View = "photo" | "depth" | "relief" | "result";

/** Two views at once: one over the other with a slider between them, or next to each other. */
export interface Comparison {
  readonly with: View;
  readonly mode: "slider" | "side";
}
