import { untilAborted } from "../abort.js";
import { isHere } from "../hub/obtain.js";
import type { DownloadProgress } from "../hub/transfer.js";
import { modelsOf } from "./models.js";
import { kindOf, type NeededModel } from "./needed-model.js";
import { downloadModel } from "./store.js";

type ProgressListener = (progress: DownloadProgress) => void;

interface OngoingDownload {
  /** Resolves once the download has ended, successfully or not. */
  readonly ended: Promise<void>;
  /** The waiting jobs' listeners. */
  readonly listeners: Set<ProgressListener>;
  lastProgress: DownloadProgress | null;
}

interface JobDownloadOptions {
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
  /** A token for the Hub, instead of this machine's. */
  readonly token?: string | undefined;
  /** Downloads only the models that the job needs for this purpose; all by default. */
  readonly purpose?: NeededModel["purpose"] | undefined;
}

/** The parts of a job that determine its models. */
type ModelUser = Parameters<typeof modelsOf>[0];

/** Jobs that need the same files of a repository have the same key. */
const keyOf = ({ source, purpose, file }: NeededModel): string => JSON.stringify([source, purpose, file]);

/** Downloads the models of jobs while other jobs run. Jobs that need the same model share one download. */
export class Downloads {
  readonly #env: NodeJS.ProcessEnv | undefined;
  readonly #ongoing = new Map<string, OngoingDownload>();

  /** @param env Hugging Face's environment variables; this process's by default. */
  constructor(env: NodeJS.ProcessEnv | undefined) {
    this.#env = env;
  }

  /**
   * The first model of a job that must be downloaded; null if there is none.
   * @param purpose considers only models for this.
   */
  missing(job: ModelUser, purpose?: NeededModel["purpose"]): NeededModel | null {
    const offline = job.load.offline ?? false;
    return (
      modelsOf(job, this.#env).find(
        (needed) =>
          (purpose === undefined || needed.purpose === purpose) &&
          !isHere(needed.source, { kind: kindOf(needed), offline, env: this.#env }),
      ) ?? null
    );
  }

  /**
   * Downloads the models that a job lacks.
   * @throws {ModelError} if one cannot be obtained.
   * @throws the signal's reason immediately when cancelled.
   */
  async obtain(job: ModelUser, options: JobDownloadOptions): Promise<void> {
    const { signal, onProgress, purpose } = options;
    /** Models downloaded for this job. One that is still incomplete is left for the pipeline to report. */
    const done = new Set<string>();
    for (;;) {
      signal.throwIfAborted();
      const needed = this.missing(job, purpose);
      if (!needed || done.has(keyOf(needed))) return;
      const ongoing = this.#ongoing.get(keyOf(needed));
      if (ongoing) {
        ongoing.listeners.add(onProgress);
        if (ongoing.lastProgress) onProgress(ongoing.lastProgress);
        await untilAborted(ongoing.ended, signal).finally(() => ongoing.listeners.delete(onProgress));
      } else {
        await this.#download(needed, options);
        done.add(keyOf(needed));
      }
    }
  }

  #download(needed: NeededModel, { signal, onProgress, token }: JobDownloadOptions): Promise<unknown> {
    const key = keyOf(needed);
    const listeners = new Set([onProgress]);
    const download = downloadModel(
      { ...needed, token },
      {
        signal,
        env: this.#env,
        onProgress: (progress) => {
          ongoing.lastProgress = progress;
          for (const listener of listeners) listener(progress);
        },
      },
    ).finally(() => this.#ongoing.delete(key));
    const ended = download.then(
      () => {},
      () => {},
    );
    const ongoing: OngoingDownload = { ended, listeners, lastProgress: null };
    this.#ongoing.set(key, ongoing);
    return download;
  }
}
