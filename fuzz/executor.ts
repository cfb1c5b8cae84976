/* The process that runs cases, one at a time. Its owner kills it when a case takes too much time or memory. */
import { MfluxDepthError } from "mflux-depth/errors";
import { type FuzzCase, Violation } from "./area.js";
import { areas } from "./areas/index.js";
import type { Verdict } from "./judge.js";

const [area, folder] = process.argv.slice(2) as [string, string];
const { open } = await areas[area]!();
const run = await open(folder);

/** In a host's process, errors that reach the event loop would be fatal. */
let escaped: string | null = null;
const note = (error: unknown): void => {
  escaped ??= describe(error);
};
process.on("uncaughtException", note);
process.on("unhandledRejection", note);
process.on("disconnect", () => process.exit(0));

process.on("message", async (fuzzCase: FuzzCase) => {
  escaped = null;
  const verdict = await judge(fuzzCase);
  process.send!(escaped === null ? verdict : { failure: `an error reached the event loop: ${escaped}` });
});
process.send!({ ready: true });

async function judge(fuzzCase: FuzzCase): Promise<Verdict> {
  try {
    await run(fuzzCase);
    return { failure: null, accepted: true };
  } catch (error) {
    if (error instanceof Violation) return { failure: error.message };
    if (!(error instanceof MfluxDepthError)) return { failure: `an internal error: ${describe(error)}` };
    return { failure: judgeMessage(error.message), refusal: error.message };
  }
}

/** Describes the problem with an error's message; null if there is none. */
function judgeMessage(message: string): string | null {
  if (message.length > 2000) return `a message has ${message.length} characters`;
  if (/\[object Object\]|\bE(NOTDIR|ACCES|LOOP|NAMETOOLONG|ISDIR)\b.*\b(open|stat|scandir)\b/.test(message))
    return `a message is internal: ${message}`;
  return null;
}

function describe(error: unknown): string {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  const place = stack?.split("\n").find((line) => line.includes("/dist/src/"));
  return `${name}: ${message.slice(0, 300)}${place?.replace(/.*\/dist\//, " at ") ?? ""}`;
}
