import { readSafetensorsHeader, type SafetensorsHeader } from "@mflux-depth/mlx";
import { ModelError } from "../../errors.js";
import { asModelError, type StoredTensor } from "../format.js";
import { type AdapterRole, parseAdapterKey, replacedName } from "./keys.js";

/** A tensor of an adapter file. */
export interface AdapterTensor {
  readonly key: string;
  readonly shape: readonly number[];
}

/** The tensors of one layer, by what they are. */
export interface AdapterModule {
  /** The layer's name as the file spells it. */
  readonly name: string;
  readonly tensors: ReadonlyMap<AdapterRole, AdapterTensor>;
}

/** The header of an adapter file. */
export interface AdapterFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, StoredTensor>;
  readonly modules: readonly AdapterModule[];
  /** Keys that do not end like those of an adapter. */
  readonly strays: readonly string[];
}

/** Dtypes that hold adapters, under safetensors' names. */
export const adapterDtypes: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F8_E4M3"]);
/** Dtypes that some trainers leave alpha in, a whole number. */
const alphaDtypes: ReadonlySet<string> = new Set(["I16", "I32", "I64"]);

/**
 * Opens an adapter file: reads and checks its header, no tensors.
 * @throws {ModelError} when it is damaged, or holds no adapter.
 */
export function openAdapterFile(path: string): AdapterFile {
  const header = readHeader(path);
  const modules = new Map<string, Map<AdapterRole, AdapterTensor>>();
  const strays: string[] = [];
  for (const [key, { dtype, shape }] of header.tensors) {
    const parsed = parseAdapterKey(key);
    if (!parsed) {
      strays.push(key);
      continue;
    }
    if (!adapterDtypes.has(dtype) && !(parsed.role === "alpha" && alphaDtypes.has(dtype)))
      throw new ModelError(
        path,
        `tensor "${key}" has the dtype ${dtype}; adapters are floating-point numbers`,
      );
    const tensors = modules.get(parsed.module) ?? new Map<AdapterRole, AdapterTensor>();
    const other = tensors.get(parsed.role);
    if (other) throw new ModelError(path, `"${key}" and "${other.key}" are the same part of one layer`);
    modules.set(parsed.module, tensors.set(parsed.role, { key, shape }));
  }
  if (modules.size === 0 && strays.every((key) => replacedName(key) === null))
    throw new ModelError(
      path,
      `this is not an adapter: none of its ${header.tensors.size} tensors is named like one of a LoRA`,
    );
  return {
    path,
    metadata: header.metadata,
    entries: new Map(
      Array.from(header.tensors, ([key, { dtype, shape, start, end }]) => [
        key,
        { dtype, shape, bytes: end - start },
      ]),
    ),
    modules: Array.from(modules, ([name, tensors]) => ({ name, tensors })),
    strays,
  };
}

/**
 * Tells whether a safetensors file holds an adapter rather than weights, by its keys.
 * @throws {ModelError} when it is damaged.
 */
export const isAdapterFile = (path: string): boolean =>
  [...readHeader(path).tensors.keys()].some((key) =>
    /\.(lora|lokr|hada)_|\.lora\.|_lora\d?\.|\.diff(_b)?$|\.set_weight$/.test(key),
  );

function readHeader(path: string): SafetensorsHeader {
  try {
    return readSafetensorsHeader(path);
  } catch (error) {
    throw asModelError(path, error);
  }
}
