import { type FileHandle, open } from "node:fs/promises";
import { type DType, evaluate, type MxArray, slice } from "@mflux-depth/mlx";

/** An array and its name in a file. */
export type NamedArray = readonly [name: string, array: MxArray];

/** Splits tensors, in order, into files of at most `limit` bytes; a larger tensor gets its own file. */
export function intoShards(tensors: readonly NamedArray[], limit: number): NamedArray[][] {
  const shards: NamedArray[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const [, { nbytes }] = tensor;
    if (bytes > 0 && bytes + nbytes > limit) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(tensor);
    bytes += nbytes;
  }
  return shards;
}

/** safetensors' names for the dtypes of parameters. */
const dtypeNames: Partial<Record<DType, string>> = {
  uint32: "U32",
  bfloat16: "BF16",
  float16: "F16",
  float32: "F32",
};

/** The number of bytes copied through JavaScript's memory at a time. */
const pieceBytes = 1 << 24;

/**
 * Writes a safetensors file tensor by tensor: the header from shapes and dtypes, then each array is evaluated, written
 * and disposed, so that only one is in memory. An array that occurs several times is computed once and disposed after its
 * last occurrence. The file has been flushed to disk when the promise resolves.
 * @param options.before is awaited before an array is evaluated; if it throws, writing ends.
 * @param options.onBytes receives the number of bytes written since its last call.
 * @throws the error of the file system, or the signal's reason; the file is then incomplete.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedArray[],
  metadata: Readonly<Record<string, string>>,
  options: {
    signal?: AbortSignal | undefined;
    before?: (array: MxArray) => Promise<void>;
    onBytes?: (bytes: number) => void;
  } = {},
): Promise<void> {
  const { signal, before, onBytes } = options;
  const last = new Map(tensors.map(([, array], index) => [array, index]));
  const file = await open(path, "wx");
  try {
    await writeAll(file, headerOf(tensors, metadata));
    for (const [index, [, array]] of tensors.entries()) {
      await before?.(array);
      await evaluate(array, { signal });
      for (const piece of piecesOf(array)) {
        signal?.throwIfAborted();
        await writeAll(file, piece);
        onBytes?.(piece.length);
      }
      if (last.get(array) === index) array.dispose();
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
