/*
 * The files of a tokenizer's folder, except its vocabulary.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { specialTokensFile, tokenizerConfigFile, tokenizerFile } from "../files/repository-layout.js";
import { isRecord } from "../record.js";

/** A token that is recognised in the text itself, before the text is split. */
export interface SpecialToken {
  readonly content: string;
  readonly id: number;
  /** Whether it is searched for in the normalized text (so "<|STARTOFTEXT|>" matches) or in the text as typed. */
  readonly normalized: boolean;
}

export type Role = "bos" | "eos" | "unk" | "pad";

/** A token's declaration. The id is absent if only the vocabulary knows it. */
interface DeclaredToken {
  readonly id?: number;
  readonly normalized: boolean;
}

export interface TokenizerSettings<R extends Role> {
  /** The content of each role's token. */
  readonly roles: Readonly<Record<R, string>>;
  /** The tokens that the folder declares, by content. */
  readonly declared: ReadonlyMap<string, DeclaredToken>;
  /** `model_max_length`; null if it is absent or not a usable length (transformers writes 1e30 for "none"). */
  readonly maxLength: number | null;
}

/** Larger values of `model_max_length` mean no limit. */
const longestLength = 1e6;

/** Reads a JSON file; null if the folder does not have it. */
export const readConfigIfPresent = (folder: string, file: string): Record<string, unknown> | null =>
  existsSync(join(folder, file)) ? readConfig(folder, file) : null;

/**
 * Reads the settings of a tokenizer's folder: `tokenizer_config.json`, and `special_tokens_map.json` if there is one. As
 * in transformers, the map takes precedence unless the config declares its tokens itself (`added_tokens_decoder`).
 * @param defaults the roles that the tokenizer has, with the contents of their tokens unless the folder says otherwise.
 * @param tokenizer the contents of `tokenizer.json`, whose `added_tokens` count as declared.
 * @throws {ModelError} naming the file that is missing or malformed.
 */
export function readSettings<R extends Role>(
  folder: string,
  defaults: Readonly<Record<R, string>>,
  tokenizer: Readonly<Record<string, unknown>> | null,
): TokenizerSettings<R> {
  const config = readConfig(folder, tokenizerConfigFile);
  const map = readConfigIfPresent(folder, specialTokensFile) ?? {};
  const decoder = isRecord(config.added_tokens_decoder) ? config.added_tokens_decoder : null;
  const declared = new Map<string, DeclaredToken>([
    ...addedTokens(folder, tokenizer?.added_tokens),
    ...decodedTokens(folder, decoder ?? {}),
  ]);

  const sources = decoder ? [config] : [map, config];
  const roles: Record<R, string> = { ...defaults };
  for (const role of Object.keys(defaults) as R[]) {
    const token = sources.map((source) => source[`${role}_token`]).find((value) => contentOf(value) !== null);
    roles[role] = contentOf(token) ?? defaults[role];
    if (!declared.has(roles[role])) declared.set(roles[role], { normalized: isNormalized(token) });
  }
  return { roles, declared, maxLength: usableLength(config.model_max_length) };
}

type Declaration = readonly [content: string, token: DeclaredToken];

/** The `added_tokens` of `tokenizer.json`. */
function addedTokens(folder: string, listed: unknown): Declaration[] {
  return (Array.isArray(listed) ? listed : []).map((token: unknown) => {
    const content = contentOf(token);
    const id: unknown = isRecord(token) ? token.id : null;
    if (content === null || !Number.isInteger(id))
      throw new ModelError(
        join(folder, tokenizerFile),
        "each entry of added_tokens needs a content and an id",
      );
    return [content, { id: id as number, normalized: isNormalized(token) }];
  });
}

/** The `added_tokens_decoder` of `tokenizer_config.json`, by id. */
function decodedTokens(folder: string, decoder: Readonly<Record<string, unknown>>): Declaration[] {
  return Object.entries(decoder).map(([id, token]) => {
    const content = contentOf(token);
    if (content === null || !Number.isInteger(Number(id)))
      throw new ModelError(
        join(folder, tokenizerConfigFile),
        `the entry "${id}" of added_tokens_decoder is not a token with an id`,
      );
    return [content, { id: Number(id), normalized: isNormalized(token) }];
  });
}

/** The text of a token in a config, which is a string or an object with `content`. */
function contentOf(value: unknown): string | null {
  const content = isRecord(value) ? value.content : value;
  return typeof content === "string" && content !== "" ? content : null;
}

const isNormalized = (value: unknown): boolean => isRecord(value) && value.normalized === true;

const usableLength = (length: unknown): number | null =>
  typeof length === "number" && Number.isInteger(length) && length > 0 && length <= longestLength
    ? length
    : null;

/**
 * Completes the declared special tokens with their ids.
 * @param idOf looks a token up in the vocabulary.
 * @throws {ModelError} about `source` if a token has no id.
 */
export function specialTokens(
  declared: TokenizerSettings<Role>["declared"],
  idOf: (content: string) => number | undefined,
  source: string,
): SpecialToken[] {
  return [...declared].map(([content, { id, normalized }]) => {
    const known = id ?? idOf(content);
    if (known === undefined)
      throw new ModelError(source, `the special token "${content}" is not in the vocabulary`);
    return { content, id: known, normalized };
  });
}
