import { MlxError, type MxArray } from "@mflux-depth/mlx";

/** Token ids of one text, or of several: `[batch, tokens]`. */
export type TokenIds = Int32Array | MxArray;

/**
 * Checks token ids and returns them text by text. MLX does not check ids: outside the vocabulary, it reads whatever
 * memory follows the table.
 * @param encoder the name of the encoder's class, for messages.
 * @param limits.positions the maximum number of tokens of a text; unlimited if absent.
 * @throws {MlxError} when an id is not in the vocabulary, or a text has no tokens or too many.
 */
export function tokenRows(
  ids: TokenIds,
  encoder: string,
  limits: { vocabSize: number; positions?: number },
): number[][] {
  const values = ids instanceof Int32Array ? ids : ids.toTypedArray();
  const [batch, tokens] = ids instanceof Int32Array ? [1, ids.length] : ids.shape;
  if (batch === undefined || tokens === undefined || batch * tokens !== values.length || tokens === 0)
    throw new MlxError(encoder, "token ids need the shape [batch, tokens], with at least one token");
  const { vocabSize, positions = Number.POSITIVE_INFINITY } = limits;
  if (tokens > positions)
    throw new MlxError(
      encoder,
      `the text has ${tokens} tokens, but the encoder has only ${positions} positions`,
    );
  const rows = Array.from({ length: batch }, (_, row) =>
    Array.from(values.subarray(row * tokens, (row + 1) * tokens), Number),
  );
  for (const id of rows.flat())
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
      throw new MlxError(
        encoder,
        `the token id ${id} is not in the vocabulary of ${vocabSize}; tokenizer and encoder belong to different models`,
      );
  return rows;
}
