/*
 * The block types of GGUF (ggml: ggml-common.h, ggml-quants.c): groups of neighbouring values of a row with a scale.
 */

export interface GgufType {
  readonly name: string;
  /** Values in a block. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Bits per value, without the scales. */
  readonly bits: number;
}

const type = (name: string, values: number, bytes: number, bits: number): GgufType => ({
  name,
  values,
  bytes,
  bits,
});

/** The supported types, by their number in the file. */
export const ggufTypes: ReadonlyMap<number, GgufType> = new Map([
  [0, type("F32", 1, 4, 32)],
  [1, type("F16", 1, 2, 16)],
  [2, type("Q4_0", 32, 18, 4)],
  [3, type("Q4_1", 32, 20, 4)],
  [6, type("Q5_0", 32, 22, 5)],
  [7, type("Q5_1", 32, 24, 5)],
  [8, type("Q8_0", 32, 34, 8)],
  [10, type("Q2_K", 256, 84, 2)],
  [11, type("Q3_K", 256, 110, 3)],
  [12, type("Q4_K", 256, 144, 4)],
  [13, type("Q5_K", 256, 176, 5)],
  [14, type("Q6_K", 256, 210, 6)],
  [30, type("BF16", 1, 2, 16)],
]);

/** Types that exist but are not supported, for messages. */
export const unreadTypes: ReadonlyMap<number, string> = new Map([
  [9, "Q8_1"],
  [15, "Q8_K"],
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [20, "IQ4_NL"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [23, "IQ4_XS"],
  [24, "I8"],
  [25, "I16"],
  [26, "I32"],
  [27, "I64"],
  [28, "F64"],
  [29, "IQ1_M"],
  [34, "TQ1_0"],
  [35, "TQ2_0"],
  [39, "MXFP4"],
]);
