/* The LoRAs of a model: adapters that are added to its layers during computation, also on quantized weights. */
import { basename } from "node:path";
import { type Dial, propertyPath } from "@mflux-depth/mlx/nn";
import { aboutOption, ModelError, OptionError } from "../../errors.js";
import { readModelConfigs } from "../../families/model-configs.js";
import type { ModelFiles } from "../../families/model-files.js";
import type { ObtainOptions } from "../../hub/obtain.js";
import type { ResolvedLoadOptions } from "../../options/index.js";
import { type AdapterFile, openAdapterFile } from "../../weights/adapters/adapter-file.js";
import { attachAdapters } from "../../weights/adapters/attach.js";
import { bakeAdapters, bakingBytes } from "../../weights/adapters/bake.js";
import {
  type AdapterMatch,
  describeProblems,
  matchAdapter,
  requireMatch,
} from "../../weights/adapters/match.js";
import { MergedTensors } from "../../weights/adapters/merge.js";
import { type Training, trainingOf } from "../../weights/adapters/scaling.js";
import { adapterBytes, addedBiasBytes, replacingBytes } from "../../weights/adapters/size.js";
import type { NamedTensor, Preparation } from "../../weights/component.js";
import { findLora } from "./lora-source.js";

/** A LoRA and its current strength. */
export interface LoraState {
  /** The name of its file or folder, or of its repository with the file. */
  readonly name: string;
  readonly revision: string | null;
  readonly sha256: string;
  /** "depth" for one that gives its base model the control of a depth map, "style" for any other. */
  readonly role: LoraRole;
  readonly scale: number;
}

export type LoraRole = "depth" | "style";

/** An open LoRA; its tensors are read with the components that they change. */
interface OpenLora extends LoraState {
  readonly file: AdapterFile;
  readonly match: AdapterMatch;
  readonly training: Training;
  /** The strength of all its adapters. */
  readonly dial: Dial;
}

type Obtaining = Pick<ObtainOptions, "signal" | "onProgress">;
type LoraOptions = Pick<ResolvedLoadOptions, "loras" | "loraLenient" | "bakeLora" | "offline">;

/** The LoRAs of one model. */
export class Loras {
  static readonly none = new Loras([]);
  /** The parts of LoRAs that are ignored, one sentence each. */
  readonly notes: readonly string[];
  readonly #loras: readonly OpenLora[];
  /** Whether LoRAs are merged into the weights on loading. */
  readonly #isBaked: boolean;

  private constructor(loras: readonly OpenLora[], isBaked = false) {
    this.#loras = loras;
    this.#isBaked = isBaked;
    this.notes = loras.flatMap(({ file, match: { problems } }) =>
      problems.length > 0
        ? [`${basename(file.path)} is used without the rest: ${describeProblems(problems)}.`]
        : [],
    );
  }

  /**
   * Finds the LoRAs of a model: those that were saved with it, then those of the options. Downloads missing ones, and
   * matches them with the layers of the model. Reads headers only.
   * @throws {ModelError} when one does not exist, cannot be downloaded, is damaged, or has keys that fit no layer; with
   *   `loraLenient`, only if no key fits.
   */
  static open(files: ModelFiles, options: LoraOptions, obtaining: Obtaining = {}): Promise<Loras> {
    return Loras.#open(files, options, obtaining).catch(aboutOption("loras"));
  }

  static async #open(files: ModelFiles, options: LoraOptions, obtaining: Obtaining): Promise<Loras> {
    const { loraLenient, bakeLora, offline } = options;
    const { family } = files;
    const loras = [...(files.origin?.loras ?? []), ...options.loras];
    if (loras.length === 0) return Loras.none;
    const names = family.adapterNames(readModelConfigs(files));
    const opened: OpenLora[] = [];
    for (const { source, scale } of loras) {
      const { path, ...facts } = await findLora(source, { ...obtaining, offline });
      const file = openAdapterFile(path);
      const match = matchAdapter(file, names);
      requireMatch(file, match, loraLenient);
      requireUntouched(file, match, opened);
      if (scale === 0 && replacesWeights(match))
        throw new OptionError("loras", cannotBeOff(facts.name), { code: "option-conflict" });
      const role = family.controlLora?.matches(file) ? "depth" : "style";
      opened.push({ ...facts, role, scale, file, match, training: trainingOf(file), dial: { scale } });
    }
    return new Loras(opened, bakeLora);
  }

  /** All LoRAs in the order of the options, with their current strengths. */
  get states(): readonly LoraState[] {
    return this.#loras.map(({ name, revision, sha256, role, dial }) => ({
      name,
      revision,
      sha256,
      role,
      scale: dial.scale,
    }));
  }

  /** The files of all LoRAs. */
  get paths(): readonly string[] {
    return this.#loras.map(({ file }) => file.path);
  }

  /** Hashes and loaded strengths, which identify the effect of the LoRAs on a request without its own scales. */
  get identity(): unknown {
    return [this.#isBaked, this.#loras.map(({ sha256, scale }) => [sha256, scale])];
  }

  /**
   * Checks that there is one scale per LoRA.
   * @throws {OptionError}
   */
  checkScales(scales: readonly number[] | undefined): void {
    const { length } = this.#loras;
    if (scales !== undefined && this.#isBaked)
      throw new OptionError(
        "loraScales",
        "loraScales cannot change LoRAs that are merged into the weights (bakeLora); load the model with the scales, or without bakeLora.",
        { code: "option-conflict" },
      );
    if (scales !== undefined && scales.length !== length)
      throw new OptionError(
        "loraScales",
        `loraScales has ${scales.length} ${scales.length === 1 ? "number" : "numbers"}, but the model was loaded with ${length} ${length === 1 ? "LoRA" : "LoRAs"}; give one for each.`,
        { code: "option-conflict" },
      );
    for (const [index, { name, match }] of this.#loras.entries())
      if (scales?.[index] === 0 && replacesWeights(match))
        throw new OptionError("loraScales", cannotBeOff(name), { code: "option-conflict" });
  }

  /** Sets the strengths for the next generation, by default those from loading. */
  setScales(scales: readonly number[] | undefined): void {
    for (const [index, { dial, scale }] of this.#loras.entries()) dial.scale = scales?.[index] ?? scale;
  }

  /** The strengths of the LoRAs that change any of these components. */
  scalesIn(components: readonly string[]): number[] {
    return this.#loras
      .filter(({ match }) => match.layers.some(({ target }) => components.includes(target.component)))
      .map(({ dial }) => dial.scale);
  }

  /**
   * Attaches the LoRAs to a component; undefined if none changes it.
   * @param valueBytes bytes of a value in the dtype that the component computes in.
   */
  preparation(component: string, valueBytes: number): Preparation | undefined {
    const isOwn = (one: { readonly component: string }): boolean => one.component === component;
    const changes = this.#loras.flatMap(({ match, ...lora }) => {
      const layers = match.layers.filter(({ target }) => isOwn(target));
      const replacements = match.replacements.filter(isOwn);
      return layers.length + replacements.length > 0 ? [{ ...lora, layers, replacements }] : [];
    });
    if (changes.length === 0) return undefined;
    const isBaked = this.#isBaked;
    const layers = changes.flatMap((change) => change.layers);
    const replacements = changes.flatMap((change) => change.replacements);
    const replaced = replacements.flatMap(({ parts }) => parts.map(({ path }) => path));
    return {
      bytes: layers.reduce(
        (sum, layer) => sum + adapterBytes(layer, valueBytes),
        addedBiasBytes(replacements, valueBytes),
      ),
      working: Math.max(isBaked ? bakingBytes(layers) : 0, replacingBytes(replacements)),
      async apply(network, signal, given) {
        const stored = () => without(given(), replaced);
        for (const { file, dial, training, ...match } of changes)
          await attachAdapters(network, file, match, { dial, training, stored, signal });
        if (isBaked) await bakeAdapters(network, stored, signal);
      },
      async merging(network, signal, given, source) {
        const stored = () => without(given(), replaced);
        for (const { file, dial, training, ...match } of changes)
          await attachAdapters(network, file, match, { dial, training, stored, unread: true, signal });
        return new MergedTensors(network, replaced, source);
      },
    };
  }
}

/** The tensors of a checkpoint but those of replaced parameters: the network has the new ones. */
function* without(tensors: Iterable<NamedTensor>, paths: readonly string[]): Generator<NamedTensor, void> {
  const replaced = new Set(paths);
  for (const [key, tensor] of tensors)
    if (replaced.has(propertyPath(key))) tensor.dispose();
    else yield [key, tensor];
}

/**
 * Whether a LoRA replaces weights, which are then the same at every strength. The norms of a control LoRA do not count.
 */
const replacesWeights = ({ replacements }: AdapterMatch): boolean =>
  replacements.some(({ isControl }) => !isControl);

const cannotBeOff = (name: string): string =>
  `${name} replaces whole weights, which are the same at every strength, so 0 would not turn it off; load the model without it.`;

/**
 * Requires that what a LoRA replaces is not changed by itself or by one before it: the change would be lost.
 * @throws {ModelError} naming the LoRA and the parameter.
 */
function requireUntouched(file: AdapterFile, match: AdapterMatch, before: readonly OpenLora[]): void {
  const changed = new Set(
    [{ match }, ...before].flatMap(({ match: { layers } }) =>
      layers.flatMap(({ target, module, form }) =>
        target.parts.flatMap(({ path }) => [
          ...(form.kind === "bias" ? [] : [`${target.component}.${path}.weight`]),
          ...(module.tensors.has("upBias") || module.tensors.has("diffBias")
            ? [`${target.component}.${path}.bias`]
            : []),
        ]),
      ),
    ),
  );
  for (const { component, parts, key } of match.replacements)
    for (const { path } of parts)
      if (changed.has(`${component}.${path}`))
        throw new ModelError(
          file.path,
          `"${key}" replaces ${path} of ${component}, which this LoRA or one before it changes, so the change would be lost; list the LoRA that replaces weights first, or leave one out`,
        );
}
