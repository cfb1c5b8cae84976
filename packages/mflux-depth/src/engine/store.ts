import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { EngineError, restoreError } from "../errors.js";
import type { FromStore, StoreRequest, ToStore } from "./protocol.js";

type DownloadRequest = Extract<StoreRequest, { type: "download" }>;
export type DownloadProgress = Extract<FromStore, { type: "progress" }>["progress"];
export type CachedModel = Extract<FromStore, { type: "models" }>["models"][number];

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Hugging Face's variables, with all others; those of this process when absent. */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Downloads what a model needs into the Hugging Face cache, in a process of its own: it neither waits for pictures
 * nor ends with the engine, and the hashes of large files are nobody else's work.
 * @param request.token for the Hub, in place of this machine's.
 * @returns the folder that holds the model.
 * @throws {ModelError} when there is no such model, it is another one, or it cannot be had.
 * @throws the signal's reason when cancelled; a later download goes on where this one stopped.
 */
export async function downloadModel(
  request: Omit<DownloadRequest, "type">,
  options: DownloadOptions = {},
): Promise<string> {
  const answer = await ask({ type: "download", ...request }, options);
  return answer.type === "folder" ? answer.folder : unexpected(answer);
}

/** The models in the Hugging Face cache that are whole. */
export async function cachedModels(): Promise<readonly CachedModel[]> {
  const answer = await ask({ type: "list" });
  return answer.type === "models" ? answer.models : unexpected(answer);
}

/**
 * Deletes a repository from the Hugging Face cache, or one revision with what no other revision has.
 * @returns false when it is not there.
 * @throws {ModelError} when it cannot be deleted.
 */
export async function deleteModel(
  repository: string,
  options: { readonly revision?: string | undefined } = {},
): Promise<boolean> {
  const answer = await ask({ type: "delete", repository, ...options });
  return answer.type === "deleted" ? answer.deleted : unexpected(answer);
}

type Answer = Exclude<FromStore, { type: "progress" | "error" }>;

/** A cancelled process that has not ended after so long ends by force. */
const cancelMs = 5000;

/** One request, one process. */
async function ask(
  request: StoreRequest,
  { signal, onProgress, env }: DownloadOptions = {},
): Promise<Answer> {
  signal?.throwIfAborted();
  const child = fork(fileURLToPath(new URL("./store-host.js", import.meta.url)), [], {
    serialization: "advanced",
    stdio: ["ignore", 2, 2, "ipc"],
    execArgv: [],
    ...(env && { env }),
  });
  // A process that has gone says so by its exit.
  const send = (message: ToStore): void => void child.send(message, () => {});
  let impatient: NodeJS.Timeout | undefined;
  const cancel = (): void => {
    send({ type: "cancel" });
    impatient = setTimeout(() => child.kill("SIGKILL"), cancelMs);
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    const answer = await new Promise<Exclude<FromStore, { type: "progress" }>>((resolve, reject) => {
      child.on("message", (message: FromStore) => {
        if (message.type !== "progress") resolve(message);
        else if (!signal?.aborted) onProgress?.(message.progress);
      });
      child.once("exit", (code, ended) => reject(endOf(ended ? `signal ${ended}` : `exit code ${code}`)));
      child.once("error", (error) => {
        if (child.pid === undefined) reject(endOf(error.message));
      });
      send({ type: "request", request });
    });
    signal?.throwIfAborted();
    if (answer.type === "error") throw restoreError(answer.error);
    return answer;
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    clearTimeout(impatient);
    signal?.removeEventListener("abort", cancel);
    if (child.connected) child.disconnect();
  }
}

const endOf = (how: string): EngineError =>
  new EngineError(`The process that works on the cache of models ended (${how}); try again.`, {
    code: "engine-ended",
  });

const unexpected = ({ type }: Answer): never => {
  throw new EngineError(`The process that works on the cache of models answered with ${type}.`);
};
