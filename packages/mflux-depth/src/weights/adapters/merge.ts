import { add, astype, type MxArray, multiply, reshape, scope } from "@mflux-depth/mlx";
import { type Adapter, Linear, type Module, propertyPath } from "@mflux-depth/mlx/nn";
import { ModelError } from "../../errors.js";

/**
 * Merges the adapters of a module without weights into the tensors of its checkpoint, lazily, as these come by. Results are
 * in float32.
 */
export class MergedTensors {
  readonly #layers = new Map<string, Linear>();
  readonly #replaced = new Map<string, MxArray>();
  readonly #scales = new Set<string>();
  readonly #used = new Set<string>();
  readonly #source: string;

  /**
   * @param module has adapters, and values in place of zeros for the parameters that they replace.
   * @param replaced the paths of those.
   * @param source the checkpoint, for messages.
   */
  constructor(module: Module, replaced: readonly string[], source: string) {
    this.#source = source;
    for (const [path, layer] of module.modules()) {
      if (layer instanceof Linear && layer.adapters.length > 0) this.#layers.set(path, layer);
    }
    const parameters = module.parameters();
    for (const path of replaced) {
      this.#replaced.set(path, parameters.get(path)!);
      if (path.endsWith(".weight")) this.#scales.add(path.replace(/weight$/, "scales"));
    }
  }

  /**
   * The tensor of a key with the adapters' changes; the tensor itself if there are none.
   * @throws {ModelError} when it is quantized.
   */
  change(key: string, tensor: MxArray): MxArray {
    const path = propertyPath(key);
    if (this.#scales.has(path)) throw this.#quantized(key);
    const replacement = this.#replaced.get(path);
    if (!replacement) return this.#adapted(key, path, tensor);
    this.#used.add(path);
    const value = reshape(replacement, replacement.shape);
    const adapted = this.#adapted(key, path, value);
    if (adapted !== value) value.dispose();
    return adapted;
  }

  #adapted(key: string, path: string, tensor: MxArray): MxArray {
    const dot = path.lastIndexOf(".");
    const [layer, name] = [this.#layers.get(path.slice(0, dot)), path.slice(dot + 1)];
    if (!layer) return tensor;
    this.#used.add(path);
    if (name === "weight") return this.#weight(key, tensor, layer.adapters.filter(changesWeight));
    if (name !== "bias") return tensor;
    const biases = layer.adapters.flatMap(({ bias, scale }) => (bias ? [{ bias, scale }] : []));
    if (biases.length === 0) return tensor;
    return scope(() =>
      biases.reduce((sum, { bias, scale }) => add(sum, multiply(bias, scale)), astype(tensor, "float32")),
    );
  }

  /** @throws {ModelError} when an adapter changes a tensor that the checkpoint does not have. */
  requireAllUsed(): void {
    for (const path of this.#replaced.keys()) if (!this.#used.has(path)) throw this.#missing(path);
    for (const [path, { adapters }] of this.#layers)
      for (const [name, changes] of [
        ["weight", adapters.some(changesWeight)],
        ["bias", adapters.some(({ bias }) => bias !== null)],
      ] as const)
        if (changes && !this.#used.has(`${path}.${name}`)) throw this.#missing(`${path}.${name}`);
  }

  #missing(path: string): ModelError {
    const dot = path.lastIndexOf(".");
    return new ModelError(
      this.#source,
      `the layer ${path.slice(0, dot)} has no ${path.slice(dot + 1)}, which a LoRA changes; merge the LoRA when loading, or leave it out`,
    );
  }

  #quantized(key: string): ModelError {
    return new ModelError(
      this.#source,
      `tensor "${key}" is stored quantized, so a LoRA cannot be merged into it; save the original model with the LoRA`,
    );
  }

  #weight(key: string, tensor: MxArray, adapters: readonly Adapter[]): MxArray {
    if (adapters.length === 0) return tensor;
    if (tensor.dtype === "uint32") throw this.#quantized(key);
    return scope(() => {
      const weight = astype(tensor, "float32");
      return adapters.reduce((sum, adapter) => add(sum, adapter.change(weight)), weight);
    });
  }
}

const changesWeight = ({ delta, gain }: Adapter): boolean => delta !== null || gain !== null;
