import { defaultDevice } from "../device.js";
import { evaluateSync } from "../evaluate.js";
import { native } from "../load.js";
import { astype, type Bits, type QuantizedMatrix, quantize, zeros } from "../ops.js";
import { scope } from "../scope.js";
import type { DType, MxArray } from "../types.js";
import { castTo } from "./floating.js";
import { type LayerQuantization, type LoadOptions, Module, type Slot } from "./module.js";

const defaultGroupSize = 64;

/** The bit widths of MLX's affine quantization. */
const bitWidths: ReadonlySet<number> = new Set<Bits>([2, 3, 4, 5, 6, 8]);
/** Its group sizes. */
const groupSizes: ReadonlySet<number> = new Set([32, 64, 128]);

/**
 * A layer around one matrix `weight [rows, columns]`, dense or in MLX's affine quantization. A quantized `weight` holds
 * packed integers, with `scales` and `biases` next to it, named like in MLX's files.
 */
export abstract class MatrixLayer extends Module {
  weight: MxArray;
  scales: MxArray | null = null;
  biases: MxArray | null = null;
  readonly rows: number;
  readonly columns: number;

  constructor(rows: number, columns: number) {
    super();
    this.rows = rows;
    this.columns = columns;
    this.weight = zeros([rows, columns]);
  }

  /** The dtype to compute in, if the matrix is stored in a narrower one. */
  private widened: DType | null = null;

  /** The floating dtype that the layer computes in. */
  get dtype(): DType {
    return this.widened ?? (this.scales ?? this.weight).dtype;
  }

  /** The quantization of the matrix; null if it is dense. */
  get quantization(): Required<LayerQuantization> | null {
    if (!this.scales) return null;
    return quantizationOf(this.columns, this.weight, this.scales);
  }

  /** The quantized matrix; null if it is dense. */
  protected get quantized(): QuantizedMatrix | null {
    const { weight, scales, biases } = this;
    return scales && biases ? { weight, scales, biases } : null;
  }

  protected override slots(stored: (name: string) => MxArray | undefined): Slot[] {
    const others = super.slots(stored).filter(({ name }) => !["weight", "scales", "biases"].includes(name));
    const packed = stored("weight");
    const scales = stored("scales");
    const shape = [this.rows, this.columns];
    if (!packed || !scales) return [{ name: "weight", shape, kind: "floating" }, ...others];
    const { bits, groupSize } = quantizationOf(this.columns, packed, scales);
    if (!bitWidths.has(bits) || !groupSizes.has(groupSize))
      return [{ name: "weight", shape, kind: "floating" }, ...others];
    const groups = [this.rows, this.columns / groupSize];
    return [
      { name: "weight", shape: [this.rows, (this.columns * bits) / 32], kind: "uint32" },
      { name: "scales", shape: groups, kind: "floating" },
      { name: "biases", shape: groups, kind: "floating" },
      ...others,
    ];
  }

  protected override adopt(name: string, tensor: MxArray, options: LoadOptions): MxArray[] {
    if (name === "weight" && tensor.dtype !== "uint32") {
      this.replace("scales", null);
      this.replace("biases", null);
    }
    if (matrixParameters.has(name)) this.widened = staysNarrow(tensor, options) ? "float32" : null;
    return super.adopt(name, tensor, options);
  }

  /**
   * Quantizes a dense weight if the options ask for it and the group size divides its width. It quantizes the narrower
   * of the stored and the cast tensor, so that a 16-bit checkpoint gives the same integers for any dtype.
   */
  protected override prepared(name: string, tensor: MxArray, options: LoadOptions): Record<string, MxArray> {
    const { quantization, dtype } = options;
    const narrow = matrixParameters.has(name) && staysNarrow(tensor, options);
    const held = narrow ? tensor.dtype : dtype;
    const dense = name === "weight" && tensor.dtype !== "uint32";
    if (!dense || !quantization || this.columns % (quantization.groupSize ?? defaultGroupSize) !== 0)
      return super.prepared(name, tensor, held ? { ...options, dtype: held } : options);
    return scope(() => {
      const widened = dtype === "float32" || dtype === "float64";
      const { weight, scales, biases } = quantize(widened ? tensor : castTo(dtype, tensor), quantization);
      return { weight, scales: castTo(held, scales), biases: castTo(held, biases) };
    });
  }

  protected override quantizable(options: LayerQuantization): boolean {
    return !this.scales && this.columns % (options.groupSize ?? defaultGroupSize) === 0;
  }

  protected override quantizeParameters(options: LayerQuantization): void {
    this.setQuantized(
      this.weight,
      scope(() => quantize(this.weight, options)),
    );
  }

  /**
   * Replaces the matrix by a dense one, lazily, which is quantized like the old one and gets its dtype.
   * @returns the arrays to evaluate
   */
  replaceMatrix(dense: MxArray): MxArray[] {
    const { quantization, scales } = this;
    const parameters = scope((): Record<string, MxArray> => {
      if (!quantization || !scales) return { weight: astype(dense, this.weight.dtype) };
      const made = quantize(dense, quantization);
      return {
        weight: made.weight,
        scales: astype(made.scales, scales.dtype),
        biases: astype(made.biases, scales.dtype),
      };
    });
    for (const [name, value] of Object.entries(parameters)) this.replace(name, value);
    return Object.values(parameters);
  }

  private setQuantized(source: MxArray, matrix: QuantizedMatrix): void {
    this.replace("weight", matrix.weight);
    this.replace("scales", matrix.scales);
    this.replace("biases", matrix.biases);
    source.dispose();
    evaluateSync(matrix);
  }
}

const matrixParameters: ReadonlySet<string> = new Set(["weight", "scales", "biases"]);

const staysNarrow = ({ dtype }: MxArray, options: LoadOptions): boolean =>
  options.matrices === "stored" &&
  options.dtype === "float32" &&
  (dtype === "bfloat16" || dtype === "float16");

/** Whether float32 inputs are multiplied with 16-bit matrices as stored, without a copy: on a Linux CPU. */
export const multipliesStored = (): boolean =>
  defaultDevice() === "cpu" && native.instructionSet() !== "none";

function quantizationOf(columns: number, packed: MxArray, scales: MxArray): Required<LayerQuantization> {
  return {
    bits: (((packed.shape.at(-1) ?? 0) * 32) / columns) as Bits,
    groupSize: columns / (scales.shape.at(-1) ?? 1),
  };
}
