import { type FileHandle, open } from "node:fs/promises";
import { type DType, evaluate, type MxArray, slice } from "@mflux-depth/mlx";

/** An array and its name in a file. */
export type NamedArray = readonly [name: string, array: MxArray];

/** Splits tensors, in order, into groups of at most `limit` bytes; a larger tensor gets its own group. */
export function inGroups(tensors: readonly NamedArray[], limit: number): NamedArray[][] {
  const groups: NamedArray[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const [, { nbytes }] = tensor;
    if (bytes > 0 && bytes + nbytes > limit) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)!.push(tensor);
    bytes += nbytes;
  }
  return groups;
}

/** safetensors' names for the dtypes of parameters. */
const dtypeNames: Partial<Record<DType, string>> = {
  uint32: "U32",
  bfloat16: "BF16",
  float16: "F16",
  float32: "F32",
};

/** The number of bytes copied through JavaScript's memory at a time. */
const pieceBytes = 2 ** 24;

/** Arrays of at most this many bytes are computed together; a larger one is computed alone. */
const groupBytes = 2 ** 22;

/**
 * Writes a safetensors file: the header from shapes and dtypes, then arrays are evaluated, written and disposed, one
 * large or a few small ones at a time. An array that occurs several times is computed once and disposed after its last
 * occurrence. The file has been flushed to disk when the promise resolves.
 * @param options.before is awaited before these arrays are evaluated; if it throws, writing ends.
 * @param options.onBytes receives the number of bytes written since its last call.
 * @throws the error of the file system, or the signal's reason; the file is then incomplete.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedArray[],
  metadata: Readonly<Record<string, string>>,
  options: {
    signal?: AbortSignal | undefined;
    before?: (arrays: readonly MxArray[]) => Promise<void>;
    onBytes?: (bytes: number) => void;
  } = {},
): Promise<void> {
  const { signal, before, onBytes } = options;
  const groups = inGroups(tensors, groupBytes).map((group) => group.map(([, array]) => array));
  const lastGroup = new Map(
    groups.flatMap((arrays, index) => arrays.map((array) => [array, index] as const)),
  );
  const file = await open(path, "wx");
  try {
    await writeAll(file, headerOf(tensors, metadata));
    for (const [index, arrays] of groups.entries()) {
      await before?.(arrays);
      await evaluate(arrays, { signal });
      for (const array of arrays)
        for (const piece of piecesOf(array)) {
          signal?.throwIfAborted();
          await writeAll(file, piece);
          onBytes?.(piece.length);
        }
      for (const array of arrays) if (lastGroup.get(array) === index) array.dispose();
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function headerOf(tensors: readonly NamedArray[], metadata: Readonly<Record<string, string>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, { dtype, shape, nbytes }] of tensors) {
    const start = end;
    end += nbytes;
    header[name] = { dtype: dtypeNames[dtype], shape: [...shape], data_offsets: [start, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  // Like the reference implementation, align the tensors to 8 bytes.
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  text.copy(padded, 8);
  return padded;
}

/** The bytes of an evaluated array, some rows at a time. */
function* piecesOf(array: MxArray): Generator<Uint8Array, void> {
  const bytes = (array: MxArray): Uint8Array => {
    const { buffer, byteOffset, byteLength } = array.toTypedArray();
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  if (array.nbytes <= pieceBytes || array.ndim === 0) {
    yield bytes(array);
    return;
  }
  const rows = array.shape[0]!;
  const rowsAtOnce = Math.max(1, Math.floor((rows * pieceBytes) / array.nbytes));
  for (let start = 0; start < rows; start += rowsAtOnce) {
    using piece = slice(array, [[start, Math.min(start + rowsAtOnce, rows)]]);
    yield bytes(piece);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done);
    done += bytesWritten;
  }
}
