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

/**
 * Reads HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and their older names, the way
 * huggingface_hub does (constants.py, utils/_auth.py).
 * @throws {ModelError} when HF_ENDPOINT is not an address.
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const endpoint = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
    throw new ModelError(
      "HF_ENDPOINT",
      `${JSON.stringify(endpoint)} is not a valid address; expected https://…`,
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
    const value = env[name]?.trim();
    if (value) return { value, source: name };
  }
  const path = env.HF_TOKEN_PATH ? expandHome(env.HF_TOKEN_PATH) : join(hubHome(env), "token");
  try {
    const value = readFileSync(path, "utf8").trim();
    return value ? { value, source: path } : null;
  } catch {
    return null;
  }
}

/** The name of a repository's folder in the cache. */
export const cacheFolderOf = (repository: string): string => `models--${repository.replace("/", "--")}`;
