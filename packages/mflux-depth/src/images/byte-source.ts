import type { FileHandle } from "node:fs/promises";

/** An encoded image in memory or on disk, read in pieces. */
export interface ByteSource {
  readonly length: number;
  /** Up to `count` bytes from `at`; fewer at the end. */
  read(at: number, count: number): Promise<Buffer>;
}

/** Bytes in memory. */
export const bytesSource = (bytes: Uint8Array): ByteSource => ({
  length: bytes.byteLength,
  read: async (at, count) =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).subarray(at, at + count),
});

/** A file that stays open as long as the source is used. */
export const fileSource = (file: FileHandle, length: number): ByteSource => ({
  length,
  async read(at, count) {
    const size = Math.max(Math.min(count, length - at), 0);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, at);
    return buffer.subarray(0, bytesRead);
  },
});
