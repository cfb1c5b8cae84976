/* Lists, downloads and deletes the models in this machine's Hugging Face cache, for NodeTool's model manager. */
import {
  type CachedModel,
  cachedModels,
  type DownloadProgress,
  downloadModel,
  type Engine,
} from "mflux-depth/engine";
import { messageOf } from "../advice.js";
import { patternsIn } from "../inputs/model.js";
import type { Answer, FrameData } from "./frames.js";

/** NodeTool's names for the models of each family, by the family's id. */
const typeOfFamily: Readonly<Record<string, string>> = { "flux1-depth": "hf.flux_depth" };
/** NodeTool's name for depth estimators. */
const depthType = "hf.depth_estimation";

/** The maximum number of concurrent downloads; each is a process. */
const mostDownloads = 8;

/** A host abandons a download after five silent minutes; waiting for another program's download may take longer. */
const reminderMs = 60_000;

export class Models {
  readonly #engine: Engine;
  /** The number of runs and downloads that need a repository. */
  readonly #needs = new Map<string, number>();
  #downloads = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Protects repositories from deletion. @returns a function that releases them. */
  need(repositories: readonly string[]): () => void {
    const names = new Set(repositories);
    for (const name of names) this.#needs.set(name, (this.#needs.get(name) ?? 0) + 1);
    return () => {
      for (const name of names) {
        const left = this.#needs.get(name)! - 1;
        if (left > 0) this.#needs.set(name, left);
        else this.#needs.delete(name);
      }
    };
  }

  /** Answers `models.list_cached`. */
  async list(): Promise<Answer> {
    return { models: (await cachedModels()).map(describe) };
  }

  /**
   * Answers `models.download`. A cancelled download is not an error.
   * @param tell sends a progress frame: one "start", any number of "progress", and one for the end.
   * @throws {OptionError} naming the invalid field of the request.
   * @throws {ModelError} when the model cannot be downloaded.
   */
  async download(data: FrameData, signal: AbortSignal, tell: (progress: Answer) => void): Promise<Answer> {
    const repository = required("repo_id", data);
    const path = optional("path", data);
    const type = optional("model_type", data);
    const token = optional("token", data);
    const patterns = patternsIn("models.download", data);
    const state = { repo_id: repository, path, model_type: type };
    let counts: Answer = countsOf(null);
    const say = (status: string, more: Answer = {}): void => tell({ status, ...state, ...counts, ...more });
    const letGo = this.need([repository]);
    let reminder: NodeJS.Timeout | undefined;
    this.#downloads++;
    try {
      if (this.#downloads > mostDownloads)
        throw new Error(`${mostDownloads} downloads are in progress; try again when one is done.`);
      say("start");
      reminder = setInterval(() => say("progress"), reminderMs);
      await downloadModel(
        {
          source: {
            model: repository,
            path: path ?? undefined,
            patterns: { allow: patterns.allow_patterns, ignore: patterns.ignore_patterns },
          },
          purpose: type === depthType ? "depth" : "generation",
          token: token ?? undefined,
        },
        {
          signal,
          onProgress: (progress) => {
            counts = countsOf(progress);
            reminder?.refresh();
            say("progress");
          },
        },
      );
      say("completed", { current_files: [] });
      return { repo_id: repository, status: "completed" };
    } catch (error) {
      if (!signal.aborted) {
        say("error", { error: messageOf(error) });
        throw error;
      }
      say("cancelled", { current_files: [] });
      return { repo_id: repository, status: "cancelled" };
    } finally {
      clearInterval(reminder);
      this.#downloads--;
      letGo();
    }
  }

  /**
   * Answers `models.delete`: deletes a repository, or the named revision of it.
   * @throws {ModelError} when it cannot be deleted.
   */
  async delete(data: FrameData): Promise<Answer> {
    const repository = required("repo_id", data);
    const revision = optional("revision", data);
    if (this.#needs.has(repository))
      throw new Error(
        `${repository} is in use by a run or a download; stop it or wait, then delete the model.`,
      );
    // The engine holds new jobs back meanwhile, so none reads files that are being deleted.
    return { deleted: await this.#engine.deleteModel(repository, revision === null ? {} : { revision }) };
  }
}

/** NodeTool's UnifiedModel. */
const describe = ({ repository, folder, bytes, family, hasModelIndex }: CachedModel): Answer => ({
  id: repository,
  type: family === null ? null : (typeOfFamily[family] ?? null),
  name: repository,
  repo_id: repository,
  path: null,
  cache_path: folder,
  allow_patterns: null,
  ignore_patterns: null,
  description: null,
  readme: null,
  size_on_disk: bytes,
  downloaded: true,
  pipeline_tag: null,
  tags: null,
  has_model_index: hasModelIndex,
  downloads: null,
  likes: null,
  trending_score: null,
});

const countsOf = (progress: DownloadProgress | null): Answer => ({
  downloaded_bytes: progress?.bytesDone ?? 0,
  total_bytes: progress?.bytes ?? 0,
  downloaded_files: progress?.filesDone ?? 0,
  current_files: progress?.current ?? [],
  total_files: progress?.files ?? 0,
});

function required(name: string, data: FrameData): string {
  const text = optional(name, data);
  if (text === null) throw new Error(`${name} must be a non-empty string.`);
  return text;
}

/** A field's text; null when it is blank or absent. */
function optional(name: string, data: FrameData): string | null {
  const value = data[name] ?? "";
  if (typeof value !== "string") throw new Error(`${name} must be a string.`);
  return value.trim() || null;
}
