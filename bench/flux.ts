import { readFileSync } from "node:fs";

/** The published `config.json` of a component of FLUX.1-Depth-dev. */
export function fluxConfig(component: "transformer" | "vae"): Record<string, unknown> {
  const file = new URL(
    `../../models/flux1-depth-dev/${component}/config.json`,
    import.meta.resolve("mflux-depth"),
  );
  return JSON.parse(readFileSync(file, "utf8"));
}
