import { FluxDepth, type FluxDepthOptions, type GenerateOptions } from "mflux-depth";
import { loadOptions, requestOptions } from "mflux-depth/options";
import type { Area, FuzzCase } from "../area.js";
import type { Random } from "../random.js";
import { smallRequest } from "../small-request.js";

/** Values as expressions, so that a case is text. */
const values = [
  ...[
    "undefined",
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "4",
    "63",
    "64",
    "0.5",
    "1e9",
    "2**53",
    "NaN",
    "Infinity",
  ],
  ...[
    "10n",
    "Symbol('s')",
    "''",
    "' '",
    "'4'",
    "'text'",
    "'\\u0000'",
    "'tiny-world'",
    "[]",
    "[1]",
    "{}",
    "() => 1",
  ],
  ...[
    "new Date(NaN)",
    "new Uint8Array(0)",
    "new Uint8Array(100)",
    "new Float32Array(64)",
    "new Float64Array(256)",
  ],
  ...["new BigUint64Array(64)", "new Map()", "Promise.reject(new Error('x'))", "Object.create(null)"],
  "{ data: new Uint8Array(64 * 64), width: 64, height: 64, channels: 1 }",
  "{ data: new Float32Array(64 * 64).fill(NaN), width: 64, height: 64, channels: 1 }",
  "{ data: new Uint8Array(12), width: 2, height: 2, channels: 4 }",
  "{ data: new Uint8Array(12), width: -2, height: 2, channels: 3 }",
  "{ data: new Uint16Array(4), width: 2, height: 1e9, channels: 1 }",
  "{ repo_id: 5 }",
  "{ repo_id: 'tiny-world', path: 7, allow_patterns: 'x' }",
  "new Proxy({}, {})",
];

function makeCase(random: Random): FuzzCase {
  const assignments: string[] = [];
  for (let left = 1 + random.below(3); left > 0; left--) {
    const request = !random.oneIn(3);
    const names = Object.keys(request ? requestOptions : loadOptions);
    const name = random.oneIn(20) ? "nothing" : random.pick(names);
    assignments.push(`${request ? "request" : "load"}.${name} = ${random.pick(values)};`);
  }
  if (random.oneIn(12)) assignments.push(`request = ${random.pick(values)};`);
  return { input: Buffer.from(assignments.join("\n")), parameters: {} };
}

/** Calls with values of the wrong types. */
export const library: Area = {
  limits: { seconds: 20, bytes: 1.5e9 },
  split: (input) =>
    Buffer.from(input)
      .toString()
      .split(/(?<=\n)/)
      .map((line) => Buffer.from(line)),
  prepare: async () => makeCase,
  async open() {
    return async ({ input }) => {
      const change = new Function(
        "load",
        "request",
        `${Buffer.from(input).toString()}\nreturn { load, request };`,
      );
      const { load, request } = change({ model: "tiny-world", quantize: "none" }, { ...smallRequest }) as {
        load: FluxDepthOptions;
        request: GenerateOptions;
      };
      using flux = await FluxDepth.load({ ...load, signal: AbortSignal.timeout(10_000) });
      for await (const { type } of flux.steps(request)) if (type === "stage") break;
    };
  },
};
