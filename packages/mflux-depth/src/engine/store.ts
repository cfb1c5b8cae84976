import { EngineError, restoreError } from "../errors.js";
import { Listener } from "../listener.js";
import { untilDeleted, whileDeleting } from "./deletions.js";
import { forkHost, sendTo } from "./fork.js";
import type { FromStore, StoreRequest } from "./protocol.js";

type DownloadRequest = Extract<StoreRequest, { type: "download" }>;
export type DownloadProgress = Extract<FromStore, { type: "progress" }>["progress"];
export type CachedModel = Extract<FromStore, { type: "models" }>["models"][number];

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** A complete environment, with Hugging Face's variables; this process's by default. */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

export interface DeleteOptions {
  /** A commit; all of them by default. */
  readonly revision?: string | undefined;
  /** A complete environment, with Hugging Face's variables; this process's by default. */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/**
 * Downloads the files that a model needs into the Hugging Face cache. A separate process does so without waiting for
 * generations, survives the engine, and hashes large files without blocking anything else.
 * @param request.token replaces this machine's token for the Hub.
 * @returns the model's folder.
 * @throws {ModelError} if there is no such model, it is of another kind, or it cannot be downloaded.
 * @throws the signal's reason when cancelled; a later call resumes the download.
 */
export async function downloadModel(
  request: Omit<DownloadRequest, "type">,
  options: DownloadOptions = {},
): Promise<string> {
  await untilDeleted([request.source.model], options.signal);
  const answer = await ask({ type: "download", ...request }, options);
  return answer.type === "folder" ? answer.folder : unexpected(answer);
}

/** Lists the models in the Hugging Face cache; models of a known family only if they are complete. */
export async function cachedModels(): Promise<readonly CachedModel[]> {
  const answer = await ask({ type: "list" });
  return answer.type === "models" ? answer.models : unexpected(answer);
}

/**
 * Deletes a repository from the Hugging Face cache, or one revision together with the files that only it uses. Jobs and
 * downloads of this process that need it meanwhile wait. {@link Engine.deleteModel} also refuses while a job uses it.
 * @returns false if the cache has no such repository or revision.
 * @throws {ModelError} if it cannot be deleted.
 */
export async function deleteModel(
  repository: string,
  { revision, env }: DeleteOptions = {},
): Promise<boolean> {
  const answer = await whileDeleting(repository, () =>
    ask({ type: "delete", repository, revision }, { env }),
  );
  return answer.type === "deleted" ? answer.deleted : unexpected(answer);
}

type Answer = Exclude<FromStore, { type: "progress" | "error" }>;

/** How long a cancelled process may take to end before it is killed. */
const cancelMs = 5000;

/** Starts a process for one task and waits for its answer. */
async function ask(
  request: StoreRequest,
  { signal: cancelled, onProgress, env }: DownloadOptions = {},
): Promise<Answer> {
  const listener = new Listener(onProgress);
  using job = listener.job(cancelled);
  const { signal } = job;
  signal.throwIfAborted();
  const child = forkHost("store-host.js", env);
  let killTimer: NodeJS.Timeout | undefined;
  const cancel = (): void => {
    sendTo(child, { type: "cancel" });
    killTimer = setTimeout(() => child.kill("SIGKILL"), cancelMs);
  };
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const answer = await new Promise<Exclude<FromStore, { type: "progress" }>>((resolve, reject) => {
      child.on("message", (message: FromStore) => {
        if (message.type !== "progress") resolve(message);
        else if (!signal.aborted) listener.tell(message.progress);
      });
      child.once("exit", (code, ended) =>
        reject(processEnded(ended ? `signal ${ended}` : `exit code ${code}`)),
      );
      child.once("error", (error) => {
        if (child.pid === undefined) reject(processEnded(error.message));
      });
      sendTo(child, { type: "request", request });
    });
    signal.throwIfAborted();
    if (answer.type === "error") throw restoreError(answer.error);
    return answer;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    clearTimeout(killTimer);
    signal.removeEventListener("abort", cancel);
    if (child.connected) child.disconnect();
  }
}

const processEnded = (how: string): EngineError =>
  new EngineError(`The process that manages the model cache ended unexpectedly (${how}); try again.`, {
    code: "engine-ended",
  });

const unexpected = ({ type }: Answer): never => {
  throw new EngineError(`The process that manages the model cache gave an unexpected answer (${type}).`);
};
