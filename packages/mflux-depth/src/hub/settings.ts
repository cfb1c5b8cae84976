import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ModelError } from "../errors.js";

/** How this machine uses the Hub, as set by Hugging Face's environment variables. */
export interface HubSettings {
  /** Address of the Hub, without a trailing slash. */
  readonly endpoint: string;
  /** The folder in which Hugging Face's libraries keep repositories. */
  readonly cache: string;
  readonly token: { readonly value: string; readonly source: string } | null;
  readonly offline: boolean;
}

/** Replaces tokens in foreign text, so that messages never show them. */
export function withoutTokens(text: string, token: HubSettings["token"]): string {
  const known = token === null ? text : text.replaceAll(token.value, "…");
  return known.replaceAll(/\bhf_\w{4,}/g, "hf_…");
}

/**
 * Reads HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and their older names, the way
 * huggingface_hub does (constants.py, utils/_auth.py).
 * @throws {ModelError} when HF_ENDPOINT is not an address or contains a password, or the token cannot be one.
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const endpoint = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
    throw new ModelError(
      "HF_ENDPOINT",
      `${withoutTokens(JSON.stringify(endpoint), null)} is not a valid address; expected https://…`,
    );
  const { username, password } = new URL(endpoint);
  if (username || password)
    throw new ModelError(
      "HF_ENDPOINT",
      "it contains a user name or a password, which is not supported; leave them out, and give a token in HF_TOKEN",
    );
  return {
    endpoint,
    cache: hubCache(env),
    token: isSet(env.HF_HUB_DISABLE_IMPLICIT_TOKEN) ? null : findToken(env),
    offline: isSet(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
  };
}

/** The folder in which Hugging Face's libraries keep repositories. */
export function hubCache(env: NodeJS.ProcessEnv = process.env): string {
  const named = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  return named ? expandHome(named) : join(hubHome(env), "hub");
}

const hubHome = (env: NodeJS.ProcessEnv): string =>
  env.HF_HOME
    ? expandHome(env.HF_HOME)
    : join(expandHome(env.XDG_CACHE_HOME || join(homedir(), ".cache")), "huggingface");

const expandHome = (path: string): string => path.replace(/^~(?=\/|$)/, homedir());

const isSet = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? "");

function findToken(env: NodeJS.ProcessEnv): HubSettings["token"] {
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const token = checkToken(env[name] ?? "", name);
    if (token) return token;
  }
  const path = env.HF_TOKEN_PATH ? expandHome(env.HF_TOKEN_PATH) : join(hubHome(env), "token");
  return checkToken(readToken(path), path);
}

function readToken(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The token in a text, without line breaks (huggingface_hub: _clean_token); null if there is none. */
function checkToken(text: string, source: string): HubSettings["token"] {
  const value = text.replaceAll(/[\r\n]/g, "").trim();
  if (value === "") return null;
  // The message must not show it.
  if (!/^[\x21-\x7e]+$/.test(value))
    throw new ModelError(
      source,
      "the token for the Hub contains a space or another character that no token has; copy it again",
    );
  return { value, source };
}

/** The name of a repository's folder in the cache. */
export const cacheFolderOf = (repository: string): string => `models--${repository.replace("/", "--")}`;
