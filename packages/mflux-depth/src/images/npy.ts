/** Encodes a two-dimensional array as a NumPy file: version 1.0, little-endian float32, row by row. */
export function toNpy(data: Float32Array, width: number, height: number): Uint8Array {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`;
  // Magic, version and length take ten bytes. The header ends with a newline at a multiple of 64.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length + 4 * data.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0]);
  view.setUint16(8, length, true);
  bytes.set(new TextEncoder().encode(`${dictionary.padEnd(length - 1)}\n`), 10);
  for (const [i, value] of data.entries()) view.setFloat32(10 + length + 4 * i, value, true);
  return bytes;
}
