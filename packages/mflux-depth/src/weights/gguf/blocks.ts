/*
 * Values of GGUF's blocks, computed in float32 (ggml: ggml-quants.c, dequantize_row_*). The products are in ggml's order, so
 * that every value is equal bit by bit.
 */
import {
  add,
  array,
  astype,
  bitwiseAnd,
  concatenate,
  contiguous,
  type DType,
  type MxArray,
  multiply,
  reshape,
  rightShift,
  slice,
  subtract,
  view,
} from "@mflux-depth/mlx";

/** Blocks `[count, bytes]` of uint8 → values `[count, values of a block]` float32. */
type Decoder = (blocks: MxArray) => MxArray;

/** Bytes of each block. */
const bytes = (blocks: MxArray, from: number, to: number): MxArray => slice(blocks, [null, [from, to]]);

/** Two bytes of each block as a float16, in float32: `[count, 1]`. */
const half = (blocks: MxArray, at: number): MxArray =>
  astype(view(contiguous(bytes(blocks, at, at + 2)), "float16"), "float32");

const float = (a: MxArray): MxArray => astype(a, "float32");

/** Small numbers along the second-last axis of `axes` axes, to shift by. */
const along = (numbers: readonly number[], axes: number): MxArray =>
  array(Uint8Array.from(numbers), {
    dtype: "uint8",
    shape: [...Array.from({ length: axes - 2 }, () => 1), numbers.length, 1],
  });

const mask = (a: MxArray, bits: number): MxArray =>
  bitwiseAnd(a, array(Uint8Array.of(2 ** bits - 1), { dtype: "uint8", shape: [1] }));

const shifted = (a: MxArray, by: number): MxArray =>
  rightShift(a, array(Uint8Array.of(by), { dtype: "uint8", shape: [1] }));

const lowNibbles = (a: MxArray): MxArray => mask(a, 4);
const highNibbles = (a: MxArray): MxArray => shifted(a, 4);

// ---------------------------------------------------------------- blocks of 32

/** Low nibbles, then high nibbles, of 16 bytes: `[count, 32]`. */
const nibbles = (packed: MxArray): MxArray => concatenate([lowNibbles(packed), highNibbles(packed)], 1);

/** The 32 bits of 4 bytes, the lowest first: `[count, 32]`. */
const bits = (packed: MxArray): MxArray => {
  const shifts = array(Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7]), { dtype: "uint8", shape: [1, 1, 8] });
  return reshape(mask(rightShift(reshape(packed, [-1, 4, 1]), shifts), 1), [-1, 32]);
};

/** Nibbles with a fifth bit. */
const fiveBits = (packed: MxArray, fifth: MxArray): MxArray =>
  add(float(nibbles(packed)), multiply(float(bits(fifth)), 16));

const q4_0: Decoder = (b) => multiply(half(b, 0), subtract(float(nibbles(bytes(b, 2, 18))), 8));
const q4_1: Decoder = (b) => add(multiply(half(b, 0), float(nibbles(bytes(b, 4, 20)))), half(b, 2));
const q5_0: Decoder = (b) => multiply(half(b, 0), subtract(fiveBits(bytes(b, 6, 22), bytes(b, 2, 6)), 16));
const q5_1: Decoder = (b) => add(multiply(half(b, 0), fiveBits(bytes(b, 8, 24), bytes(b, 4, 8))), half(b, 2));
const q8_0: Decoder = (b) => multiply(half(b, 0), float(view(contiguous(bytes(b, 2, 34)), "int8")));

// ---------------------------------------------------------------- blocks of 256

/** Four two-bit numbers of each of 64 bytes, in the order of the values: `[count, 2, 4, 32]`. */
const twoBits = (packed: MxArray): MxArray =>
  mask(rightShift(reshape(packed, [-1, 2, 1, 32]), along([0, 2, 4, 6], 4)), 2);

/** Values in 16 groups, each with a scale: `[count, 16, 16]`. */
const in16 = (values: MxArray): MxArray => reshape(values, [-1, 16, 16]);
const perGroup = (scales: MxArray): MxArray => reshape(scales, [scales.shape[0]!, -1, 1]);
const whole = (groups: MxArray): MxArray => reshape(groups, [groups.shape[0]!, 256]);

const q2_k: Decoder = (b) => {
  const scales = bytes(b, 0, 16);
  const scale = perGroup(multiply(half(b, 80), float(lowNibbles(scales))));
  const least = perGroup(multiply(half(b, 82), float(highNibbles(scales))));
  return whole(subtract(multiply(scale, in16(float(twoBits(bytes(b, 16, 80))))), least));
};

const q3_k: Decoder = (b) => {
  const masks = array(Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7]), { dtype: "uint8", shape: [1, 2, 4, 1] });
  const third = mask(rightShift(reshape(bytes(b, 0, 32), [-1, 1, 1, 32]), masks), 1);
  const values = subtract(add(float(twoBits(bytes(b, 32, 96))), multiply(float(third), 4)), 4);
  const low = nibbles(bytes(b, 96, 104));
  const high = reshape(
    mask(rightShift(reshape(bytes(b, 104, 108), [-1, 1, 4]), along([0, 2, 4, 6], 3)), 2),
    [-1, 16],
  );
  const scales = subtract(add(float(low), multiply(float(high), 16)), 32);
  return whole(multiply(perGroup(multiply(half(b, 108), scales)), in16(values)));
};

/** Scales and minima of Q4_K and Q5_K, six bits each in 12 bytes, multiplied: both `[count, 8, 1]`. */
function sixBits(b: MxArray): { scale: MxArray; least: MxArray } {
  const [first, second, third] = [bytes(b, 4, 8), bytes(b, 8, 12), bytes(b, 12, 16)];
  const joined = (low: MxArray, upper: MxArray, source: MxArray): MxArray =>
    concatenate([float(mask(low, 6)), add(float(upper), multiply(float(shifted(source, 6)), 16))], 1);
  const scales = joined(first, lowNibbles(third), first);
  const minima = joined(second, highNibbles(third), second);
  return { scale: perGroup(multiply(half(b, 0), scales)), least: perGroup(multiply(half(b, 2), minima)) };
}

/** Low nibbles of 32 bytes, then the high ones, four times: `[count, 8, 32]`. */
const nibblesBy32 = (packed: MxArray): MxArray =>
  reshape(mask(rightShift(reshape(packed, [-1, 4, 1, 32]), along([0, 4], 4)), 4), [-1, 8, 32]);

const q4_k: Decoder = (b) => {
  const { scale, least } = sixBits(b);
  return whole(subtract(multiply(scale, float(nibblesBy32(bytes(b, 16, 144)))), least));
};

const q5_k: Decoder = (b) => {
  const { scale, least } = sixBits(b);
  const fifth = mask(
    rightShift(reshape(bytes(b, 16, 48), [-1, 1, 32]), along([0, 1, 2, 3, 4, 5, 6, 7], 3)),
    1,
  );
  const values = add(float(nibblesBy32(bytes(b, 48, 176))), multiply(float(fifth), 16));
  return whole(subtract(multiply(scale, values), least));
};

const q6_k: Decoder = (b) => {
  const shifts = array(Uint8Array.from([0, 4]), { dtype: "uint8", shape: [1, 1, 2, 1, 1] });
  const low = reshape(
    mask(rightShift(reshape(bytes(b, 0, 128), [-1, 2, 1, 2, 32]), shifts), 4),
    [-1, 2, 4, 32],
  );
  const high = twoBits(bytes(b, 128, 192));
  const values = subtract(add(float(low), multiply(float(high), 16)), 32);
  const scales = float(view(contiguous(bytes(b, 192, 208)), "int8"));
  return whole(multiply(perGroup(multiply(half(b, 208), scales)), in16(values)));
};

/** Types whose values are stored as they are. */
const plain: Readonly<Record<string, DType>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

const decoders: Readonly<Record<string, Decoder>> = {
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
};

/**
 * The values of a tensor, lazily: of blocks in float32, of others as they are stored.
 * @param stored its bytes, `[bytes]` uint8.
 */
export function ggufValues(
  stored: MxArray,
  type: { readonly name: string; readonly bytes: number },
  shape: readonly number[],
): MxArray {
  const dtype = plain[type.name];
  if (dtype) return reshape(view(stored, dtype), shape);
  return reshape(decoders[type.name]!(reshape(stored, [-1, type.bytes])), shape);
}
