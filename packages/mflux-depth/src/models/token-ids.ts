import { MlxError, type MxArray } from "@mflux-depth/mlx";

/** Token ids of one text, or of several as `[B, T]`. */
export type TokenIds = Int32Array | MxArray;

/**
 * The ids row by row, checked: MLX reads whatever lies beside a table when an id is outside it.
 * @param encoder the class that asks, for messages
 * @throws {MlxError} when an id is not in the vocabulary, or there are more of them than positions.
 */
export function tokenRows(
  ids: TokenIds,
  encoder: string,
  limits: { vocabSize: number; positions?: number },
): number[][] {
  const values = ids instanceof Int32Array ? ids : ids.toTypedArray();
  const [batch, tokens] = ids instanceof Int32Array ? [1, ids.length] : ids.shape;
  if (batch === undefined || tokens === undefined || batch * tokens !== values.length || tokens === 0)
    throw new MlxError(encoder, "the ids must have shape [batch, tokens], with a token at least");
  const { vocabSize, positions = Number.POSITIVE_INFINITY } = limits;
  if (tokens > positions)
    throw new MlxError(encoder, `${tokens} tokens are more than its ${positions} positions`);
  const rows = Array.from({ length: batch }, (_, row) =>
    Array.from(values.subarray(row * tokens, (row + 1) * tokens), Number),
  );
  for (const id of rows.flat())
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
      throw new MlxError(
        encoder,
        `the token id ${id} is not in its vocabulary of ${vocabSize}; tokenizer and encoder belong to different models`,
      );
  return rows;
}
