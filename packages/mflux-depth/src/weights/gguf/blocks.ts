/*
 * Computes the values of GGUF blocks in float32 (ggml: ggml-quants.c, dequantize_row_*). Products are in ggml's order,
 * so values are equal to the last bit. Blocks of the form `scale · integer + bias` in groups of 32 can also become
 * matrices in MLX's affine quantization.
 */
import {
  add,
  array,
  astype,
  type Bits,
  bitwiseAnd,
  bitwiseOr,
  bitwiseXor,
  concatenate,
  contiguous,
  type DType,
  leftShift,
  type MxArray,
  multiply,
  type QuantizedMatrix,
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

/** Two bytes of each block as float16, converted to float32: `[count, 1]`. */
const half = (blocks: MxArray, at: number): MxArray =>
  astype(view(contiguous(bytes(blocks, at, at + 2)), "float16"), "float32");

const float = (a: MxArray): MxArray => astype(a, "float32");

/** Small numbers along the second-last of `axes` axes, as shifts. */
const along = (numbers: readonly number[], axes: number): MxArray =>
  array(Uint8Array.from(numbers), {
    dtype: "uint8",
    shape: [...Array.from({ length: axes - 2 }, () => 1), numbers.length, 1],
  });

const mask = (a: MxArray, bits: number): MxArray =>
  bitwiseAnd(a, array(Uint8Array.of(2 ** bits - 1), { dtype: "uint8", shape: [1] }));

const shifted = (a: MxArray, by: number): MxArray =>
  rightShift(a, array(Uint8Array.of(by), { dtype: "uint8", shape: [1] }));

const raised = (a: MxArray, by: number): MxArray =>
  leftShift(a, array(Uint8Array.of(by), { dtype: "uint8", shape: [1] }));

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

/** Nibbles combined with a fifth bit; both are uint8. */
const fiveBits = (nibbles: MxArray, fifth: MxArray): MxArray => bitwiseOr(nibbles, raised(fifth, 4));

const q4_0Integers = (b: MxArray): MxArray => nibbles(bytes(b, 2, 18));
const q4_1Integers = (b: MxArray): MxArray => nibbles(bytes(b, 4, 20));
const q5_0Integers = (b: MxArray): MxArray => fiveBits(nibbles(bytes(b, 6, 22)), bits(bytes(b, 2, 6)));
const q5_1Integers = (b: MxArray): MxArray => fiveBits(nibbles(bytes(b, 8, 24)), bits(bytes(b, 4, 8)));

const q4_0: Decoder = (b) => multiply(half(b, 0), subtract(float(q4_0Integers(b)), 8));
const q4_1: Decoder = (b) => add(multiply(half(b, 0), float(q4_1Integers(b))), half(b, 2));
const q5_0: Decoder = (b) => multiply(half(b, 0), subtract(float(q5_0Integers(b)), 16));
const q5_1: Decoder = (b) => add(multiply(half(b, 0), float(q5_1Integers(b))), half(b, 2));
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

const q4_kIntegers = (b: MxArray): MxArray => nibblesBy32(bytes(b, 16, 144));

const q5_kIntegers = (b: MxArray): MxArray => {
  const fifth = mask(
    rightShift(reshape(bytes(b, 16, 48), [-1, 1, 32]), along([0, 1, 2, 3, 4, 5, 6, 7], 3)),
    1,
  );
  return fiveBits(nibblesBy32(bytes(b, 48, 176)), fifth);
};

const q4_k: Decoder = (b) => {
  const { scale, least } = sixBits(b);
  return whole(subtract(multiply(scale, float(q4_kIntegers(b))), least));
};

const q5_k: Decoder = (b) => {
  const { scale, least } = sixBits(b);
  return whole(subtract(multiply(scale, float(q5_kIntegers(b))), least));
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

/** Types whose values are stored directly. */
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
 * The values of a tensor, lazily: in float32 for blocks, otherwise in the stored dtype.
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

// ---------------------------------------------------------------- as affine quantization

/** The group size of blocks that can be kept. */
export const keptGroupSize = 32;

/** A type of blocks in the form `scale · integer + bias`. */
interface Affine {
  readonly bits: Bits;
  /** The integers, uint8, in the order of the values. */
  readonly integers: (blocks: MxArray) => MxArray;
  /** The scale of each group, in float32. */
  readonly scale: (blocks: MxArray) => MxArray;
  readonly bias: (blocks: MxArray) => MxArray;
}

const first = (b: MxArray): MxArray => half(b, 0);
const second = (b: MxArray): MxArray => half(b, 2);

const affine: Readonly<Record<string, Affine>> = {
  Q4_0: { bits: 4, integers: q4_0Integers, scale: first, bias: (b) => multiply(first(b), -8) },
  Q4_1: { bits: 4, integers: q4_1Integers, scale: first, bias: second },
  Q5_0: { bits: 5, integers: q5_0Integers, scale: first, bias: (b) => multiply(first(b), -16) },
  Q5_1: { bits: 5, integers: q5_1Integers, scale: first, bias: second },
  Q8_0: {
    bits: 8,
    // From -128 … 127 to 0 … 255.
    integers: (b) => bitwiseXor(bytes(b, 2, 34), array(Uint8Array.of(128), { dtype: "uint8", shape: [1] })),
    scale: first,
    bias: (b) => multiply(first(b), -128),
  },
  Q4_K: {
    bits: 4,
    integers: q4_kIntegers,
    scale: (b) => sixBits(b).scale,
    bias: (b) => multiply(sixBits(b).least, -1),
  },
  Q5_K: {
    bits: 5,
    integers: q5_kIntegers,
    scale: (b) => sixBits(b).scale,
    bias: (b) => multiply(sixBits(b).least, -1),
  },
};

/** Whether MLX's affine quantization can hold a type of blocks. */
export const isAffine = (type: string): boolean => type in affine;

/**
 * A matrix of blocks in MLX's affine quantization, in groups of 32, lazily. Its values equal those of {@link
 * ggufValues} to the last bit if a block is one group; the scales and biases of Q4_K and Q5_K are products, which are
 * rounded to float16.
 * @param stored its bytes, `[bytes]` uint8.
 */
export function ggufMatrix(
  stored: MxArray,
  type: { readonly name: string; readonly bytes: number },
  [rows, columns]: readonly [rows: number, columns: number],
): QuantizedMatrix {
  const { bits, integers, scale, bias } = affine[type.name]!;
  const blocks = reshape(stored, [-1, type.bytes]);
  const perGroup = (values: MxArray): MxArray =>
    reshape(astype(values, "float16"), [rows, columns / keptGroupSize]);
  return {
    weight: reshape(view(packed(integers(blocks), bits), "uint32"), [rows, (columns * bits) / 32]),
    scales: perGroup(scale(blocks)),
    biases: perGroup(bias(blocks)),
  };
}

/** Packs integers as MLX does, the lowest bit first: any shape → `[words, 4]` uint8. */
function packed(integers: MxArray, bits: Bits): MxArray {
  if (bits === 8) return reshape(contiguous(integers), [-1, 4]);
  if (bits === 4) {
    const [low, high] = splitLast(integers, 2);
    return reshape(bitwiseOr(low!, raised(high!, 4)), [-1, 4]);
  }
  const [a, b, c, d, e, f, g, h] = splitLast(integers, 8) as [
    ...[MxArray, MxArray, MxArray, MxArray, MxArray, MxArray, MxArray, MxArray],
  ];
  const joined = (...parts: MxArray[]): MxArray => parts.reduce(bitwiseOr);
  const bytesOfEight = [
    joined(a, raised(b, 5)),
    joined(shifted(b, 3), raised(c, 2), raised(d, 7)),
    joined(shifted(d, 1), raised(e, 4)),
    joined(shifted(e, 4), raised(f, 1), raised(g, 6)),
    joined(shifted(g, 2), raised(h, 3)),
  ];
  return reshape(concatenate(bytesOfEight, 1), [-1, 4]);
}

/** Separates neighbours: any shape → `count` arrays `[…, 1]`, each of every count-th value. */
function splitLast(values: MxArray, count: number): MxArray[] {
  const neighbours = reshape(values, [-1, count]);
  return Array.from({ length: count }, (_, i) => slice(neighbours, [null, [i, i + 1]]));
}
