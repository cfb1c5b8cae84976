import type { Area, FuzzCase } from "./area.js";
import type { Judge } from "./judge.js";

const mostAttempts = 200;
const mostSeconds = 60;

/** Normalizes sentences, so that those about the same failure are equal. */
export const kindOf = (failure: string): string =>
  failure.replace(/\/[^\s:]+|"[^"]*"|[\d.]+/g, "…").slice(0, 120);

/** Removes smaller and smaller pieces of an input, as long as the failure stays the same. */
export async function minimise(
  fuzzCase: FuzzCase,
  failure: string,
  { judge, split = bytesOf }: { readonly judge: Judge } & Pick<Area, "split">,
): Promise<FuzzCase> {
  const deadline = performance.now() + mostSeconds * 1000;
  let attempts = 0;
  let pieces = split(fuzzCase.input);
  const caseOf = (some: readonly Uint8Array[]): FuzzCase => ({ ...fuzzCase, input: Buffer.concat(some) });
  for (let size = Math.ceil(pieces.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < pieces.length; ) {
      if (attempts++ >= mostAttempts || performance.now() > deadline) return caseOf(pieces);
      const fewer = [...pieces.slice(0, at), ...pieces.slice(at + size)];
      const { failure: found } = await judge.judge(caseOf(fewer));
      if (found !== null && kindOf(found) === kindOf(failure)) pieces = fewer;
      else at += size;
    }
  }
  return caseOf(pieces);
}

const bytesOf = (input: Uint8Array): Uint8Array[] => Array.from(input, (_, i) => input.subarray(i, i + 1));
