import { join } from "node:path";
import { ModelError } from "../errors.js";
import { largestText } from "../files/json.js";
import { FileReadError, readRegularFile } from "../files/read.js";
import { isRecord } from "../record.js";

/** A token that is recognised in the text itself, before anything is split. */
export interface SpecialToken {
  readonly content: string;
  readonly id: number;
  /** Found in the normalized text ("<|STARTOFTEXT|>" too) instead of in the text as typed. */
  readonly normalized: boolean;
}

export type Role = "bos" | "eos" | "unk" | "pad";

export interface TokenizerSettings<R extends Role> {
  /** What each role's token is called. */
  readonly roles: Readonly<Record<R, string>>;
  /** Tokens that the folder declares; an id is missing where only the vocabulary knows it. */
  readonly declared: ReadonlyMap<string, { readonly id?: number; readonly normalized: boolean }>;
  /** `model_max_length`; null when it is missing or no length at all (transformers writes 1e30 for "none"). */
  readonly maxLength: number | null;
}

const longestLength = 1e6;

/** Reads a text file. @throws {ModelError} that names it when it is missing or unreadable. */
export async function readText(path: string): Promise<string> {
  try {
    return (await readRegularFile(path, { limit: largestText })).toString("utf8");
  } catch (error) {
    if (!(error instanceof FileReadError)) throw error;
    const reason =
      error.problem === "missing"
        ? "there is no such file; a tokenizer needs it, so the folder is incomplete or not a tokenizer's"
        : error.message;
    throw new ModelError(path, reason, { cause: error });
  }
}

/** Reads a file that holds a JSON object. @throws {ModelError} that names it when it is missing or holds no such. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ModelError(path, `is not JSON (${(error as Error).message}); download it again`, {
      cause: error,
    });
  }
  if (!isRecord(value)) throw new ModelError(path, "should hold a JSON object, and does not");
  return value;
}

/** As {@link readJson}, null when there is no such file. */
export async function readJsonIfPresent(path: string): Promise<Record<string, unknown> | null> {
  try {
    return await readJson(path);
  } catch (error) {
    const { cause } = error as ModelError;
    if (cause instanceof FileReadError && cause.problem === "missing") return null;
    throw error;
  }
}

/** A token in a config: its text, or an object with it. */
const contentOf = (value: unknown): string | null => {
  const content = isRecord(value) ? value.content : value;
  return typeof content === "string" && content !== "" ? content : null;
};

const isNormalized = (value: unknown): boolean => isRecord(value) && value.normalized === true;

/**
 * Reads what a tokenizer's folder says beside its vocabulary: `tokenizer_config.json`, and
 * `special_tokens_map.json` where there is one. The map wins unless the config declares its tokens itself
 * (`added_tokens_decoder`), as in transformers.
 * @param defaults the roles that the tokenizer has, and what their tokens are called unless the folder says it.
 * @param tokenizer the contents of `tokenizer.json`, whose `added_tokens` count too.
 * @throws {ModelError} that names the file which is missing or malformed.
 */
export async function readSettings<R extends Role>(
  folder: string,
  defaults: Readonly<Record<R, string>>,
  tokenizer: Readonly<Record<string, unknown>> | null,
): Promise<TokenizerSettings<R>> {
  const config = await readJson(join(folder, "tokenizer_config.json"));
  const map = (await readJsonIfPresent(join(folder, "special_tokens_map.json"))) ?? {};
  const declared = new Map<string, { id?: number; normalized: boolean }>();

  const listed = tokenizer?.added_tokens;
  for (const token of Array.isArray(listed) ? listed : []) {
    const content = contentOf(token);
    const id: unknown = isRecord(token) ? token.id : null;
    if (content === null || !Number.isInteger(id))
      throw new ModelError(
        join(folder, "tokenizer.json"),
        "an entry of added_tokens has no content or no id",
      );
    declared.set(content, { id: id as number, normalized: isNormalized(token) });
  }
  const decoder = isRecord(config.added_tokens_decoder) ? config.added_tokens_decoder : null;
  for (const [id, token] of Object.entries(decoder ?? {})) {
    const content = contentOf(token);
    if (content === null || !Number.isInteger(Number(id)))
      throw new ModelError(
        join(folder, "tokenizer_config.json"),
        `the entry "${id}" of added_tokens_decoder is no token`,
      );
    declared.set(content, { id: Number(id), normalized: isNormalized(token) });
  }

  const sources = decoder ? [config] : [map, config];
  const roles: Record<R, string> = { ...defaults };
  for (const role of Object.keys(defaults) as R[]) {
    const token = sources.map((source) => source[`${role}_token`]).find((value) => contentOf(value) !== null);
    roles[role] = contentOf(token) ?? defaults[role];
    if (!declared.has(roles[role])) declared.set(roles[role], { normalized: isNormalized(token) });
  }

  const length = config.model_max_length;
  const usable = Number.isInteger(length) && (length as number) > 0 && (length as number) <= longestLength;
  return { roles, declared, maxLength: usable ? (length as number) : null };
}

/**
 * The declared special tokens with their ids.
 * @param idOf looks a token up in the vocabulary.
 * @throws {ModelError} about `source` when a token has no id.
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
