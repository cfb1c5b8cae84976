import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FuzzCase } from "./area.js";

/** A failing case in its own folder: `input`, and `case.json` with everything else. */
export interface Reproduction {
  readonly area: string;
  readonly failure: string;
  readonly fuzzCase: FuzzCase;
}

export async function writeReproduction(
  folder: string,
  { area, failure, fuzzCase }: Reproduction,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "input"), fuzzCase.input);
  const { parameters } = fuzzCase;
  await writeFile(join(folder, "case.json"), `${JSON.stringify({ area, failure, parameters }, null, 2)}\n`);
}

export async function readReproduction(folder: string): Promise<Reproduction> {
  const { area, failure, parameters } = JSON.parse(await readFile(join(folder, "case.json"), "utf8"));
  return { area, failure, fuzzCase: { input: await readFile(join(folder, "input")), parameters } };
}
