/*
 * Feeds generated and damaged inputs to mflux-depth, each in a process that is killed when it exceeds its limits. An input
 * must be accepted, or refused with one of the library's errors.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Area } from "./area.js";
import { areas } from "./areas/index.js";
import { Judge } from "./judge.js";
import { kindOf, minimise } from "./minimise.js";
import { Random } from "./random.js";
import { readReproduction, writeReproduction } from "./reproduction.js";

const usage = `Usage: npm run fuzz -- [${Object.keys(areas).join("|")} ...] [--minutes N] [--seed N]
       npm run fuzz -- --reproduce FOLDER

  AREA               what to feed; everything by default
  --minutes N        for how long, all areas together; 10 by default
  --seed N           where the sequence of cases begins; random by default
  --cases N          stop each area after this many cases
  --reproduce FOLDER run one case that was written earlier

Failures are made smaller and written to fuzz/failures. The exit code is 1 if there are any.
`;

const failuresFolder = fileURLToPath(new URL("../failures", import.meta.url));

interface Plan {
  readonly seed: number;
  readonly seconds: number;
  readonly cases: number;
}

/** Runs cases of one area. @returns the number of different failures. */
async function fuzz(name: string, { seed, seconds, cases }: Plan): Promise<number> {
  return withJudge(name, async (judge, area) => {
    const make = await area.prepare();
    const random = new Random(seed);
    const failures = new Set<string>();
    const deadline = performance.now() + seconds * 1000;
    const refusals = new Set<string>();
    let [count, accepted] = [0, 0];
    for (; count < cases && performance.now() < deadline; count++) {
      const fuzzCase = make(random);
      const { failure, accepted: taken, refusal } = await judge.judge(fuzzCase);
      if (taken) accepted++;
      if (refusal !== undefined) refusals.add(kindOf(refusal));
      if (failure === null || failures.has(kindOf(failure))) continue;
      failures.add(kindOf(failure));
      console.log(`${name}, case ${count} of seed ${seed}: ${failure}`);
      const folder = join(failuresFolder, `${name}-${seed}-${count}`);
      await writeReproduction(folder, { area: name, failure, fuzzCase });
      const smallest = await minimise(fuzzCase, failure, { judge, ...(area.split && { split: area.split }) });
      await writeReproduction(folder, { area: name, failure, fuzzCase: smallest });
      console.log(`  ${smallest.input.length} bytes in ${folder}`);
    }
    console.log(
      `${name}: ${count} cases, ${accepted} accepted, ${refusals.size} kinds of refusals, ${failures.size} failures, seed ${seed}`,
    );
    return failures.size;
  });
}

/** Runs one case again. @returns the number of failures. */
async function reproduce(folder: string): Promise<number> {
  const { area, fuzzCase } = await readReproduction(folder);
  return withJudge(area, async (judge) => {
    const { failure } = await judge.judge(fuzzCase);
    console.log(failure ?? "accepted, or refused properly");
    return failure === null ? 0 : 1;
  });
}

async function withJudge<T>(name: string, use: (judge: Judge, area: Area) => Promise<T>): Promise<T> {
  const area = await areas[name]!();
  const folder = await mkdtemp(join(tmpdir(), "mflux-depth-fuzz-"));
  try {
    using judge = new Judge(name, folder, area.limits);
    return await use(judge, area);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      minutes: { type: "string", default: "10" },
      seed: { type: "string", default: `${Date.now() % 2 ** 32}` },
      cases: { type: "string", default: "Infinity" },
      reproduce: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const names = positionals.length > 0 ? positionals : Object.keys(areas);
  const [minutes, seed, cases] = [values.minutes, values.seed, values.cases].map(Number) as [
    number,
    number,
    number,
  ];
  if (
    values.help ||
    !names.every((name) => Object.hasOwn(areas, name)) ||
    !(minutes > 0) ||
    !(cases > 0) ||
    !(seed >= 0)
  ) {
    process.stderr.write(usage);
    return values.help ? 0 : 2;
  }
  if (values.reproduce !== undefined) return Math.min(1, await reproduce(values.reproduce));
  let failures = 0;
  for (const name of names)
    failures += await fuzz(name, { seed, cases, seconds: (minutes * 60) / names.length });
  return failures > 0 ? 1 : 0;
}

process.exitCode = await main();
