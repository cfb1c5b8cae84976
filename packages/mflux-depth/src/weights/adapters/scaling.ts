/*
 * The factor alpha / rank of an adapter's layers. Alpha is a tensor next to the matrices, or in what the trainer wrote
 * about the training: in the metadata of the file, or in PEFT's adapter_config.json next to it.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ModelError } from "../../errors.js";
import { readConfig } from "../../files/json.js";
import { peftConfigFile, peftWeightsFile } from "../../files/repository-layout.js";
import { isRecord, recordIn } from "../../record.js";
import type { AdapterFile } from "./adapter-file.js";

/** What a trainer says about the layers of an adapter that its tensors do not. */
export interface Training {
  /** Alpha of a layer without an alpha of its own, by the name of the layer; null if unknown. */
  readonly alphaOf: (name: string) => number | null;
  /** Whether a layer is rank-stabilized: its factor is alpha / √rank. (Kalajdzievski, 2023.) */
  readonly isRankStabilized: (name: string) => boolean;
  /** Whether any layer is. */
  readonly rankStabilized: boolean;
}

/** The metadata key of diffusers, with PEFT's config as JSON, every key after the component's name and a dot. */
const diffusersKey = "lora_adapter_metadata";
/** The metadata key of kohya's scripts, with the arguments of the network's module as JSON. */
const kohyaKey = "ss_network_args";

/**
 * Reads what the trainer says about an adapter.
 * @throws {ModelError} when it is damaged.
 */
export function trainingOf({ path, metadata }: AdapterFile): Training {
  const configs: PeftConfig[] = [];
  const fromDiffusers = metadata.get(diffusersKey);
  if (fromDiffusers !== undefined)
    configs.push(...splitByComponent(path, jsonOf(path, diffusersKey, fromDiffusers)));
  const folder = dirname(path);
  if (basename(path) === peftWeightsFile && existsSync(join(folder, peftConfigFile)))
    configs.push(peftConfigOf(join(folder, peftConfigFile), "", readConfig(folder, peftConfigFile)));
  const kohya = metadata.get(kohyaKey);
  const kohyaStabilizes = kohya !== undefined && isTrue(jsonOf(path, kohyaKey, kohya).rs_lora);
  return {
    rankStabilized: kohyaStabilizes || configs.some((config) => config.rankStabilized),
    isRankStabilized: (name) =>
      kohyaStabilizes ||
      configs.some(({ component, rankStabilized }) => rankStabilized && name.startsWith(component)),
    alphaOf(name) {
      for (const { component, alpha, alphas } of configs) {
        if (!name.startsWith(component)) continue;
        const own = alphas.find(([ending]) => name === ending || name.endsWith(`.${ending}`));
        if (own) return own[1];
        if (alpha !== null) return alpha;
      }
      return null;
    },
  };
}

/** `alpha / rank`, or `alpha / √rank`. A missing alpha equals the rank; in LyCORIS, 0 means the same. */
export function factorOf(rank: number, alpha: number | null, rankStabilized: boolean): number {
  if (alpha === null || alpha === 0) return rankStabilized && alpha === 0 ? Math.sqrt(rank) : 1;
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

interface PeftConfig {
  /** The component's name and a dot; "" if there is only one. */
  readonly component: string;
  readonly alpha: number | null;
  /** Alpha of the layers whose names end like this. */
  readonly alphas: readonly (readonly [ending: string, alpha: number])[];
  readonly rankStabilized: boolean;
}

function splitByComponent(source: string, flat: Readonly<Record<string, unknown>>): PeftConfig[] {
  const configs = new Map<string, Record<string, unknown>>();
  for (const [key, value] of Object.entries(flat)) {
    const dot = key.indexOf(".");
    const component = key.slice(0, dot + 1);
    configs.set(component, { ...configs.get(component), [key.slice(dot + 1)]: value });
  }
  return Array.from(configs, ([component, config]) => peftConfigOf(source, component, config));
}

function peftConfigOf(
  source: string,
  component: string,
  config: Readonly<Record<string, unknown>>,
): PeftConfig {
  const { lora_alpha: alpha, alpha_pattern: patterns, use_rslora: rankStabilized } = config;
  const refused = Object.keys(isRecord(patterns) ? patterns : {}).find((name) => !/^[\w.-]+$/.test(name));
  if (refused !== undefined)
    throw new ModelError(
      source,
      `its alpha_pattern has the regular expression ${JSON.stringify(refused)}; only names of layers are read, so the strength of its layers is unknown`,
    );
  return {
    component,
    alpha: typeof alpha === "number" && Number.isFinite(alpha) ? alpha : null,
    alphas: Object.entries(isRecord(patterns) ? patterns : {}).filter(
      (entry): entry is [string, number] => typeof entry[1] === "number" && Number.isFinite(entry[1]),
    ),
    rankStabilized: rankStabilized === true,
  };
}

function jsonOf(path: string, key: string, text: string): Record<string, unknown> {
  const value = recordIn(text);
  if (value) return value;
  throw new ModelError(
    path,
    `its metadata "${key}" is not a JSON object, so the strength of its layers is unknown`,
  );
}

/** Python's and JSON's spellings of true. */
const isTrue = (value: unknown): boolean => /^(true|1)$/i.test(String(value));
