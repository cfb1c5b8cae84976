import { join } from "node:path";
import type { MxArray } from "@mflux-depth/mlx";
import { runStages } from "@mflux-depth/mlx/nn";
import type { T5Config } from "../../models/t5.js";
import { ClipTokenizer } from "../../tokenizers/clip.js";
import type { EncodedPrompt } from "../../tokenizers/prompt-encoder.js";
import { T5Tokenizer } from "../../tokenizers/t5.js";
import { bytesPerValue } from "../../weights/component.js";
import { type Origin, requireFinite } from "../finite.js";
import { defineStage, type Generation } from "../stage.js";
import type { Warnings } from "../warnings.js";

/** Encodes the prompt: pooled embeddings from CLIP, prompt embeddings from T5. Keeps the last prompt's embeddings. */
export const text = defineStage({
  name: "text",
  reads: [],
  makes: "prompt",
  cache: ({ prompts }) => prompts,
  applies: ({ steps }) => steps > 0,
  uses: () => [["text_encoder"], ["text_encoder_2"]],
  // CLIP is smaller, and done before T5.
  workingMemory: ({ textTokens }, { model }) =>
    t5Memory(model.configs.text_encoder_2, textTokens, bytesPerValue(model.precision.dtype)),
  async run(_, generation, components) {
    const { request, model, prompts, signal } = generation;
    const tokens = await tokenize(generation);
    const length = tokens.t5.ids.length;
    const key = JSON.stringify([request.prompt, length, model.loras.keyOf("text_encoder", "text_encoder_2")]);
    const known = prompts.get(key);
    if (known) return known;

    let pooledPromptEmbeds: MxArray;
    {
      using clip = await components.borrow("text_encoder");
      const network = clip.text_encoder;
      pooledPromptEmbeds = await runStages(network.stages(tokens.clip.ids), { signal });
      await checked(
        pooledPromptEmbeds,
        {
          stage: "text",
          values: "the pooled embeddings",
          component: "text_encoder",
          network,
        },
        generation,
      );
    }
    try {
      using t5 = await components.borrow("text_encoder_2");
      const network = t5.text_encoder_2;
      const promptEmbeds = await runStages(network.stages(tokens.t5.ids), { signal });
      await checked(
        promptEmbeds,
        {
          stage: "text",
          values: "the prompt embeddings",
          component: "text_encoder_2",
          network,
        },
        generation,
      );
      return prompts.keep(key, { promptEmbeds, pooledPromptEmbeds, tokens: length });
    } catch (error) {
      pooledPromptEmbeds.dispose();
      throw error;
    }
  },
});

/** Requires finite embeddings, and disposes them otherwise. */
async function checked(embeddings: MxArray, origin: Origin, generation: Generation): Promise<void> {
  try {
    await requireFinite(embeddings, origin, generation);
  } catch (error) {
    embeddings.dispose();
    throw error;
  }
}

/** Tokenizes the prompt for both encoders, and warns if one of them reads only its beginning. */
async function tokenize({
  request: { prompt, maxSequenceLength },
  model: { family, folder },
  warnings,
}: Generation): Promise<{ clip: EncodedPrompt; t5: EncodedPrompt }> {
  const { text_encoder, text_encoder_2 } = family.tokenizers;
  const clipTokenizer = await ClipTokenizer.load(join(folder, text_encoder));
  const t5Tokenizer = await T5Tokenizer.load(join(folder, text_encoder_2), { maxSequenceLength });
  const [clip, t5] = [clipTokenizer.encode(prompt), t5Tokenizer.encode(prompt)];
  warnIfTruncated("CLIP", clip, warnings);
  warnIfTruncated("T5", t5, warnings);
  return { clip, t5 };
}

function warnIfTruncated(encoder: string, { ids, truncated }: EncodedPrompt, warnings: Warnings): void {
  if (truncated !== null)
    warnings.add(
      `${encoder} reads only the first ${ids.length} tokens of the prompt and ignores ${quoted(truncated)}.`,
    );
}

/** A text in quotes; of a long one, the beginning and the number of characters. */
function quoted(text: string): string {
  const characters = [...text];
  if (characters.length <= 100) return `"${text}"`;
  return `"${characters.slice(0, 60).join("")}…" (${characters.length} characters)`;
}

/**
 * Estimates the bytes that T5 computes with: hidden states, both halves of the feed-forward, the attention scores of a
 * group of heads, and the position bias.
 */
function t5Memory({ dModel, dFf, numHeads }: T5Config, tokens: number, valueBytes: number): number {
  const scores = 4 * numHeads * tokens * tokens;
  return valueBytes * tokens * (6 * dModel + 4 * dFf) + 2 * Math.min(scores, 64e6) + scores + 1e6;
}
