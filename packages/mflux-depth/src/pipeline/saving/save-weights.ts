/*
 * The weights of a saved model, in mflux's layout: each component's tensors, quantized lazily, in files of at most 2 GiB
 * with an index.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { evaluate, type MxArray, memory } from "@mflux-depth/mlx";
import { ModelError } from "../../errors.js";
import type { Bits } from "../../options/index.js";
import { mfluxVersion } from "../../weights/mflux.js";
import { inGroups, type NamedArray, writeSafetensors } from "../../weights/writer.js";
import type { Model } from "../model/model.js";
import { writeJson } from "./save-files.js";

/** mflux's limit for the tensors in one file; a larger tensor gets its own file. */
const shardBytes = 2 ** 31;

/** A tensor of the source, which may be damaged. */
interface SourceTensor {
  readonly key: string;
  /** Whether its values are finite; lazy. */
  readonly finite: MxArray;
}

/** The tensors of one component, by the file that they go into. */
interface ComponentTensors {
  readonly name: string;
  /** The folder of the source. */
  readonly folder: string;
  /** The source tensor of each array. */
  readonly sources: ReadonlyMap<MxArray, SourceTensor>;
  readonly shards: readonly (readonly NamedArray[])[];
}

/** Options of {@link ModelTensors.write}. */
export interface WriteOptions {
  /** Bits of the quantized matrices, for the files' metadata. */
  readonly bits: Bits | null;
  readonly signal: AbortSignal | undefined;
  /** Receives the number of bytes just written. */
  readonly onBytes: (component: string, count: number) => void;
}

/** The tensors of a model under mflux's names. They are lazy: writing one reads, quantizes and disposes it. */
export class ModelTensors implements Disposable {
  readonly #components: readonly ComponentTensors[];

  private constructor(components: readonly ComponentTensors[]) {
    this.#components = components;
  }

  /**
   * Collects the tensors of a model. Every checkpoint is opened and checked; no weights are read.
   * @throws {ModelError} when weights are missing, damaged, or do not fit their config, or a LoRA cannot be merged.
   * @throws the signal's reason.
   */
  static async of({ family, components, configs }: Model, signal: AbortSignal): Promise<ModelTensors> {
    const collected = Object.entries(components).map(([name, component]) => ({
      name,
      component,
      tensors: [] as NamedArray[],
      sources: new Map<MxArray, SourceTensor>(),
    }));
    const savedKeys = (name: string, key: string): readonly string[] =>
      family.components[name]!.savedNames?.namesOf(key, configs[name]) ?? [key];
    try {
      for (const { name, component, tensors, sources } of collected)
        await component.deliver(({ key, parameters, finite }) => {
          const layer = key.slice(0, key.lastIndexOf(".") + 1);
          for (const [parameter, array] of Object.entries(parameters)) {
            sources.set(array, { key, finite });
            for (const saved of savedKeys(name, layer + parameter)) tensors.push([saved, array]);
          }
        }, signal);
    } catch (error) {
      for (const { sources } of collected) disposeAll(sources);
      throw error;
    }
    return new ModelTensors(
      collected.map(({ name, tensors, sources }) => ({
        name,
        folder: components[name]!.source,
        sources,
        shards: inGroups(tensors, shardBytes),
      })),
    );
  }

  /** Bytes of all tensors. */
  get bytes(): number {
    return this.#tensors.reduce((sum, [, { nbytes }]) => sum + nbytes, 0);
  }

  /**
   * Writes each component into a new folder of its name, one large tensor or a few small ones at a time.
   * @throws {ModelError} when a tensor of the source has values that are not finite. Files are then incomplete, as they
   * are after an error of the file system or the signal's reason.
   */
  async write(folder: string, options: WriteOptions): Promise<void> {
    for (const component of this.#components) {
      await writeComponent(join(folder, component.name), component, options);
      memory.clearCache();
    }
  }

  [Symbol.dispose](): void {
    for (const { sources } of this.#components) disposeAll(sources);
    memory.clearCache();
  }

  get #tensors(): NamedArray[] {
    return this.#components.flatMap(({ shards }) => shards.flat());
  }
}

async function writeComponent(
  folder: string,
  { name, shards, sources, folder: source }: ComponentTensors,
  { bits, signal, onBytes }: WriteOptions,
): Promise<void> {
  await mkdir(folder);
  const metadata = { quantization_level: bits === null ? "None" : `${bits}`, mflux_version: mfluxVersion };
  const fileOf: Record<string, string> = {};
  for (const [index, tensors] of shards.entries()) {
    const file = `${index}.safetensors`;
    const reportBytes = (count: number): void => onBytes(name, count);
    const before = (arrays: readonly MxArray[]): Promise<void> =>
      requireFinite(
        arrays.map((array) => sources.get(array)!),
        source,
        signal,
      );
    await writeSafetensors(join(folder, file), tensors, metadata, { signal, before, onBytes: reportBytes });
    for (const [tensor] of tensors) fileOf[tensor] = file;
  }
  await writeJson(join(folder, "model.safetensors.index.json"), { metadata, weight_map: fileOf });
}

/** The check reads the tensors; the arrays that are made from them next use the same values. */
async function requireFinite(
  tensors: readonly SourceTensor[],
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await evaluate(
    tensors.map(({ finite }) => finite),
    { signal },
  );
  for (const { key, finite } of tensors)
    if (!finite.item())
      throw new ModelError(
        folder,
        `tensor "${key}" of the weights has values that are not finite numbers, so it is damaged; get a new copy of the model`,
      );
}

function disposeAll(sources: ComponentTensors["sources"]): void {
  for (const [array, { finite }] of sources) {
    array.dispose();
    finite.dispose();
  }
}
