/** Encodes a two-dimensional array as a NumPy file: version 1.0, little-endian float32, row by row. */
export function toNpy(data: Float32Array, width: number, height: number): Uint8Array {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`;
  // Magic, version and length take ten bytes. The header ends with a newline at a multiple of 64.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length + 4 * data.length);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  new DataView(bytes.buffer).setUint16(8, length, true);
  bytes.set(new TextEncoder().encode(`${dictionary.padEnd(length - 1)}\n`), 10);
  // All platforms of MLX are little-endian.
  new Float32Array(bytes.buffer, 10 + length).set(data);
  return bytes;
}
