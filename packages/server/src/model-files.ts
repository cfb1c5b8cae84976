import { existsSync } from "node:fs";
import { isBundled } from "mflux-depth/engine";
import { OptionError } from "mflux-depth/errors";
import type { LoadOptions } from "mflux-depth/options";
import type { ServeSettings } from "./flags.js";
import { mayBeRepository } from "./requests/models.js";

/**
 * Checks that the folders and files named by flags exist. Repositories may be downloaded later.
 * @throws {OptionError} for the first missing one.
 */
export function requireModelFiles({
  load,
  allowedModels,
}: Pick<ServeSettings, "load" | "allowedModels">): void {
  const sourceOf = (lora: NonNullable<LoadOptions["loras"]>[number]): string =>
    typeof lora === "string" ? lora : lora.source;
  const named: Readonly<Record<string, readonly unknown[]>> = {
    "--model": [load.model],
    "--depth-model": [load.depthModel],
    "--lora": (load.loras ?? []).map(sourceOf),
    "--allow-model": allowedModels.map(({ folder }) => folder),
  };
  for (const [flag, sources] of Object.entries(named))
    for (const source of sources)
      if (typeof source === "string" && !isUsable(source))
        throw new OptionError(
          flag,
          `${flag} names ${source}, which does not exist; give a model's folder or file, or the name of a repository.`,
        );
}

const isUsable = (source: string): boolean =>
  isBundled(source) || mayBeRepository(source) || existsSync(source);
