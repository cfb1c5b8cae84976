import { FluxDepth } from "mflux-depth";
import type { Area, FuzzCase } from "../area.js";
import type { Random } from "../random.js";
import { smallRequest } from "../small-request.js";

/** Texts that tokenizers treat specially. */
const pieces = [
  ...[
    "a red cube",
    " ",
    "\n",
    "\t",
    "\u0000",
    "\u001b[31m",
    "\u200d",
    "\u00a0",
    "\u3000",
    "\ufeff",
    "\ufffd",
  ],
  ...[
    "e\u0301",
    "\u0344",
    "\u0f73\u0f72",
    "\u1100\u1161\u11a8",
    "한국어",
    "日本語",
    "עברית",
    "\u202e",
    "👩‍👩‍👧",
    "🏳️‍🌈",
  ],
  ...[
    "\ud800",
    "\udc00",
    "ﬁ",
    "㍍",
    "ﷺ",
    "İ",
    "ß",
    "<|endoftext|>",
    "<|startoftext|>",
    "</s>",
    "<pad>",
    "<extra_id_0>",
  ],
  ...[
    "▁",
    "##",
    "0123456789",
    "https://example.org/?a=b#c",
    "it's",
    "!!!???",
    "\\n",
    "%s%n",
    "{{}}",
    "A".repeat(50),
  ],
] as const;

function makeCase(random: Random): FuzzCase {
  const parts: string[] = [];
  for (let left = 1 + random.below(12); left > 0; left--) {
    const piece = random.oneIn(4) ? String.fromCodePoint(random.below(0x11_0000)) : random.pick(pieces);
    // Combining marks and unbroken words can make normalization quadratic.
    const times = random.oneIn(6) ? random.pick([100, 3000, 50_000]) : 1;
    parts.push(piece.repeat(times));
  }
  return { input: Buffer.from(parts.join(""), "utf16le"), parameters: {} };
}

/** Prompts, as text in UTF-16, so that unpaired surrogates survive. */
export const prompts: Area = {
  limits: { seconds: 10, bytes: 1.2e9 },
  split: (input) => Array.from({ length: input.length / 2 }, (_, i) => input.subarray(2 * i, 2 * i + 2)),
  prepare: async () => makeCase,
  async open() {
    const flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    return async ({ input }) => {
      const prompt = Buffer.from(input).toString("utf16le");
      for await (const event of flux.steps({ ...smallRequest, prompt }))
        if (event.type === "stage" && event.state === "end") break;
    };
  },
};
