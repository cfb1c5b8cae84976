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
  readonly #used = new Set<string>();
  readonly #source: string;

  /**
   * @param module has adapters, and values in place of zeros for the parameters that they replace.
   * @param replaced the paths of the modules that those belong to.
   * @param source the checkpoint, for messages.
   */
  constructor(module: Module, replaced: readonly string[], source: string) {
    this.#source = source;
    for (const [path, layer] of module.modules()) {
      if (layer instanceof Linear && layer.adapters.length > 0) this.#layers.set(path, layer);
      if (replaced.includes(path))
        for (const [name, value] of layer.ownParameters()) this.#replaced.set(`${path}.${name}`, value);
    }
  }

  /**
   * The tensor of a key with the adapters' changes; the tensor itself if there are none.
   * @throws {ModelError} when it is quantized.
   */
  change(key: string, tensor: MxArray): MxArray {
    const path = propertyPath(key);
    const replacement = this.#replaced.get(path);
    if (replacement) return reshape(replacement, replacement.shape);
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
    for (const [path, { adapters }] of this.#layers)
      for (const [name, changes] of [
        ["weight", adapters.some(changesWeight)],
        ["bias", adapters.some(({ bias }) => bias !== null)],
      ] as const)
        if (changes && !this.#used.has(`${path}.${name}`))
          throw new ModelError(
            this.#source,
            `the layer ${path} has no ${name}, which a LoRA changes; merge the LoRA when loading, or leave it out`,
          );
  }

  #weight(key: string, tensor: MxArray, adapters: readonly Adapter[]): MxArray {
    if (adapters.length === 0) return tensor;
    if (tensor.dtype === "uint32")
      throw new ModelError(
        this.#source,
        `tensor "${key}" is stored quantized, so a LoRA cannot be merged into it; save the original model with the LoRA`,
      );
    return scope(() => {
      const weight = astype(tensor, "float32");
      return adapters.reduce((sum, adapter) => add(sum, adapter.change(weight)), weight);
    });
  }
}

const changesWeight = ({ delta, gain }: Adapter): boolean => delta !== null || gain !== null;
