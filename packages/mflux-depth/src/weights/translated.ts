import { concatenate, type MxArray, scope, slice } from "@mflux-depth/mlx";
import { ModelError } from "../errors.js";
import type { Checkpoint, StoredTensor } from "./format.js";

/** The translation of a checkpoint's tensor: one or several tensors, each made of some of its rows, in order. */
export interface TensorParts {
  readonly parts: readonly { readonly name: string; readonly rows: number }[];
  /** Whether the halves of the rows are swapped. */
  readonly swapsHalves?: boolean | undefined;
}

/**
 * Gives a checkpoint other names. Fused tensors are cut by rows, lazily; tensors without a translation keep their
 * names.
 * @param partsOf the translation of a tensor's name; null to keep it.
 * @throws {ModelError} if a tensor's number of rows differs from that of its parts.
 */
export function translated(
  checkpoint: Checkpoint,
  partsOf: (name: string) => TensorParts | null,
): Checkpoint {
  const entries = new Map<string, StoredTensor>();
  const fileOf = new Map<string, string>();
  for (const [name, { dtype, shape, bytes }] of checkpoint.entries) {
    const file = checkpoint.fileOf.get(name) ?? checkpoint.source;
    const { parts } = partsOf(name) ?? { parts: [{ name, rows: shape[0] ?? 1 }] };
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    if (rows !== (shape[0] ?? 1))
      throw new ModelError(
        file,
        `tensor "${name}" has the shape [${shape.join(", ")}]; expected ${rows} rows`,
      );
    for (const part of parts) {
      if (entries.has(part.name))
        throw new ModelError(file, `tensor "${name}" and another one are both ${part.name}`);
      const share = rows === 0 ? 0 : part.rows / rows;
      entries.set(part.name, {
        dtype,
        shape: shape.length === 0 ? [] : [part.rows, ...shape.slice(1)],
        bytes: bytes * share,
      });
      fileOf.set(part.name, file);
    }
  }
  return {
    ...checkpoint,
    entries,
    fileOf,
    // A part is read together with its whole tensor.
    largest: Math.max(
      checkpoint.largest ?? 0,
      ...Array.from(checkpoint.entries.values(), ({ bytes }) => bytes),
    ),
    *tensors() {
      for (const [name, tensor] of checkpoint.tensors()) {
        const translation = partsOf(name);
        if (!translation) yield [name, tensor];
        else if (translation.parts.length === 1 && !translation.swapsHalves)
          yield [translation.parts[0]!.name, tensor];
        else {
          const cut = scope(() => partsOfTensor(tensor, translation));
          tensor.dispose();
          for (const [index, { name: part }] of translation.parts.entries()) yield [part, cut[index]!];
        }
      }
    },
  };
}

function partsOfTensor(tensor: MxArray, { parts, swapsHalves = false }: TensorParts): MxArray[] {
  const half = tensor.shape[0]! / 2;
  const ordered = swapsHalves
    ? concatenate([slice(tensor, [[half, null]]), slice(tensor, [[0, half]])])
    : tensor;
  let from = 0;
  return parts.map(({ rows }) => {
    const part = slice(ordered, [[from, from + rows]]);
    from += rows;
    return part;
  });
}
