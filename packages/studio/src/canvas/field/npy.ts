import { bounded, type DepthField, type FieldOrigin, makeField } from "./depth-field.js";

/** The maximum number of pixels that the server accepts in a picture. */
const mostPixels = 100_000_000;

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/**
 * Reads a depth map from NumPy's `.npy` format: float32, little endian, two-dimensional, in rows. Larger maps are
 * reduced to at most 4096 pixels a side.
 * @throws {RangeError} for any other content, a damaged file, or values that {@link makeField} refuses.
 */
export function fieldFromNpy(bytes: ArrayBuffer, origin: FieldOrigin): DepthField {
  const { header, start } = readHeader(bytes);
  const [height, width] = shapeOf(header);
  const expected = start + 4 * width * height;
  if (bytes.byteLength !== expected)
    throw new RangeError(`The array has ${bytes.byteLength} bytes; its header promises ${expected}.`);
  return bounded(makeField(new Float32Array(bytes.slice(start)), { width, height, origin }));
}

function readHeader(bytes: ArrayBuffer): { header: string; start: number } {
  const view = new DataView(bytes);
  if (bytes.byteLength < 12 || magic.some((byte, i) => view.getUint8(i) !== byte))
    throw new RangeError("The depth map does not start like an .npy file.");
  const version = view.getUint8(6);
  // Version 1 stores the header's length in two bytes, later versions in four.
  const from = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (from + length > bytes.byteLength) throw new RangeError("The .npy file ends within its header.");
  return {
    header: new TextDecoder("latin1").decode(new Uint8Array(bytes, from, length)),
    start: from + length,
  };
}

function shapeOf(header: string): [height: number, width: number] {
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const columnsFirst = /'fortran_order':\s*True/.test(header);
  if (type !== "<f4" || columnsFirst)
    throw new RangeError(
      `The array has ${columnsFirst ? "columns before rows" : `values of type ${type}`}; expected rows of '<f4'.`,
    );
  const shape = /'shape':\s*\((\d+),\s*(\d+),?\s*\)/.exec(header);
  const [height, width] = [Number(shape?.[1]), Number(shape?.[2])];
  if (!(height > 0 && width > 0 && height * width <= mostPixels))
    throw new RangeError(`Expected a two-dimensional array of up to ${mostPixels} values.`);
  return [height, width];
}
