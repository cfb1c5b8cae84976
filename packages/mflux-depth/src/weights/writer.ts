import { type FileHandle, open } from "node:fs/promises";
import { type DType, evaluate, type MxArray, slice } from "@mflux-depth/mlx";

/** An array under the name that it gets in a file. */
export type NamedArray = readonly [name: string, array: MxArray];

/** Tensors in their order, by files of at most `limit` bytes of them each; one that alone has more gets a file. */
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

/** As safetensors calls them; what parameters are made of. */
const dtypeNames: Partial<Record<DType, string>> = {
  uint32: "U32",
  bfloat16: "BF16",
  float16: "F16",
  float32: "F32",
};

/** What goes through JavaScript's memory at a time. */
const pieceBytes = 1 << 24;

/**
 * Writes a safetensors file tensor by tensor: the header from shapes and dtypes, then each array evaluated, written and
 * disposed, so that memory holds one at a time. An array that comes several times is computed once and disposed after
 * the last. The file is on the disk when the promise resolves.
 * @param options.onBytes told how many bytes of tensors were written, piece by piece.
 * @throws what the file system says, or the signal's reason; the file is then incomplete.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedArray[],
  metadata: Readonly<Record<string, string>>,
  options: { signal?: AbortSignal | undefined; onBytes?: (bytes: number) => void } = {},
): Promise<void> {
  const { signal, onBytes } = options;
  const last = new Map(tensors.map(([, array], index) => [array, index]));
  const file = await open(path, "wx");
  try {
    await writeAll(file, headerOf(tensors, metadata));
    for (const [index, [, array]] of tensors.entries()) {
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
  // Tensors begin at a multiple of 8, as the format's own implementation has it.
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  text.copy(padded, 8);
  return padded;
}

/** The bytes of an evaluated array, rows by rows. */
function* piecesOf(array: MxArray): Generator<Uint8Array, void> {
  const bytes = (part: MxArray): Uint8Array => {
    const { buffer, byteOffset, byteLength } = part.toTypedArray();
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  if (array.nbytes <= pieceBytes || array.ndim === 0) {
    yield bytes(array);
    return;
  }
  const rows = array.shape[0]!;
  const step = Math.max(1, Math.floor((rows * pieceBytes) / array.nbytes));
  for (let start = 0; start < rows; start += step) {
    using part = slice(array, [[start, Math.min(start + step, rows)]]);
    yield bytes(part);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done);
    done += bytesWritten;
  }
}
