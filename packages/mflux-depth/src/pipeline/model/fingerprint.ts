import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { backend, deviceInfo, instructionSet, processor } from "@mflux-depth/mlx";
import { isFile } from "../../files/folders.js";
import type { Repository } from "../../hub/repository.js";
import { packageVersion } from "../../version.js";
import { type ComputeSettings, ownThreads } from "../turns/process-settings.js";
import type { Model } from "./model.js";

/**
 * Identifies everything that shapes the numbers of a generation, apart from its request: if fingerprints are equal, the
 * same request gives the same pixels. 64 hexadecimal digits.
 *
 * It includes threads, because they decide how sums are split. It excludes memory, although a machine that is so short
 * of memory that it encodes images in more bands rounds differently.
 */
export function fingerprintOf(
  { device, precision, configs, folder, components, loras }: Model,
  { revision }: Repository,
  { threads }: ComputeSettings,
  variant: string | undefined,
): string {
  const { name, version, blas } = backend();
  // Components with their own files are not those of the revision.
  const files = Object.values(components)
    .filter(({ source }) => isFile(source))
    .map(({ source }) => [statSync(source).size, Math.round(statSync(source).mtimeMs)]);
  const others = files.length > 0 ? [files, filesIn(folder)] : null;
  const facts = {
    program: packageVersion(),
    mlx: [name, version],
    computer:
      device === "cpu"
        ? [process.arch, instructionSet(), processor(), blas.name, threads ?? ownThreads()]
        : [deviceInfo(device).architecture ?? deviceInfo(device).device_name],
    precision,
    configs,
    weights: [revision ?? filesIn(folder), variant ?? null, others],
    loras: loras.identity,
  };
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

/** Names, sizes and times of a folder's files, which identify weights without a revision. */
const filesIn = (folder: string): unknown[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .flatMap((name) => {
      // A link may be broken.
      const file = statSync(join(folder, name), { throwIfNoEntry: false });
      return file?.isFile() ? [[name, file.size, Math.round(file.mtimeMs)]] : [];
    });
