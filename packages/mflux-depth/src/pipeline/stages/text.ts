import type { MxArray } from "@mflux-depth/mlx";
import { runStages } from "@mflux-depth/mlx/nn";
import type { TextEncoding } from "../../families/family.js";
import type { EncodedPrompt } from "../../tokenizers/prompt-encoder.js";
import { bytesPerValue } from "../../weights/component.js";
import { requireFinite } from "../finite.js";
import { type ComponentLender, defineStage, type Generation } from "../stage.js";
import type { Warnings } from "../warnings.js";

/** Encodes the prompt with each text encoder of the family. Keeps the last prompt's embeddings. */
export const text = defineStage({
  name: "text",
  reads: [],
  makes: "prompt",
  cache: ({ prompts }) => prompts,
  applies: ({ steps }) => steps > 0,
  uses: (_, family) => family.text.map(({ component }) => [component]),
  workingMemory: ({ textTokens }, { model: { family, configs, precision } }) =>
    Math.max(
      ...family.text.map(
        (encoding) => encoding.workingMemory?.(configs, textTokens, bytesPerValue(precision.dtype)) ?? 0,
      ),
    ),
  async run(_, generation, components) {
    const { request, model, prompts } = generation;
    const tokenized = tokenize(generation);
    const scales = model.loras.scalesIn(model.family.text.map(({ component }) => component));
    const key = JSON.stringify([request.prompt, scales, ...tokenized.map(({ ids }) => ids.length)]);
    const known = prompts.get(key);
    if (known) return known;

    const { text: encodings } = generation.model.family;
    const embeddings: Record<string, MxArray> = {};
    try {
      for (const [i, encoding] of encodings.entries())
        embeddings[encoding.component] = await encode(encoding, tokenized[i]!, generation, components);
    } catch (error) {
      for (const made of Object.values(embeddings)) made.dispose();
      throw error;
    }
    const attended = tokenized.filter((__, i) => encodings[i]!.attended);
    const tokens = attended.reduce((sum, { ids }) => sum + ids.length, 0);
    return prompts.keep(key, { embeddings, tokens });
  },
});

/**
 * Encodes the tokens of a prompt with one encoder.
 * @throws {ModelError} when the embeddings are not finite.
 */
async function encode(
  encoding: TextEncoding,
  { ids }: EncodedPrompt,
  generation: Generation,
  components: ComponentLender,
): Promise<MxArray> {
  const { component, makes } = encoding;
  using loan = await components.borrow(component);
  const network = loan[component]!;
  const made = await runStages(encoding.encode(network, ids), { signal: generation.signal });
  try {
    await requireFinite(made, { stage: "text", values: makes, component, network }, generation);
    return made;
  } catch (error) {
    made.dispose();
    throw error;
  }
}

/** Tokenizes the prompt for each encoder, and warns if one of them reads only its beginning. */
function tokenize({
  request: { prompt, maxSequenceLength },
  model: { family, tokenizers },
  warnings,
}: Generation): EncodedPrompt[] {
  return family.text.map((encoding) => {
    const encoded = tokenizers.of(encoding).encode(prompt, maxSequenceLength);
    warnIfTruncated(encoding.name, encoded, warnings);
    return encoded;
  });
}

function warnIfTruncated(encoder: string, { ids, truncated }: EncodedPrompt, warnings: Warnings): void {
  if (truncated === null) return;
  const read = ids.length === 1 ? "token" : `${ids.length} tokens`;
  warnings.add(`${encoder} reads only the first ${read} of the prompt and ignores ${quoted(truncated)}.`);
}

/** Quotes a text, in one line; shortens a long one to its beginning and its number of characters. */
function quoted(text: string): string {
  const characters = [...text];
  if (characters.length <= 100) return JSON.stringify(text);
  return `${JSON.stringify(`${characters.slice(0, 60).join("")}…`)} (${characters.length} characters)`;
}
