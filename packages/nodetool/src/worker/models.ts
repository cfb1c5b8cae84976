/*
 * The models in this machine's Hugging Face cache, as NodeTool's model manager lists, downloads and deletes them.
 */
import {
  type CachedModel,
  cachedModels,
  type DownloadProgress,
  deleteModel,
  downloadModel,
  type Engine,
} from "mflux-depth/engine";
import { patternsIn } from "../inputs.js";

type Data = Readonly<Record<string, unknown>>;
type Answer = Readonly<Record<string, unknown>>;

/** NodeTool's name for models of this node. */
const fluxDepthType = "hf.flux_depth";
/** And for those that infer depth from photos. */
const depthType = "hf.depth_estimation";

/** Each is a process. */
const mostDownloads = 8;

/** A host gives a download up that says nothing for five minutes; it may wait for another program's for longer. */
const reminderMs = 60_000;

export class Models {
  readonly #engine: Engine;
  /** How many runs and downloads need a repository. */
  readonly #needs = new Map<string, number>();
  #downloads = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Keeps repositories from being deleted. @returns what lets go of them. */
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
   * Answers `models.download`, which is no error when it is cancelled.
   * @param tell sends a progress frame: one "start", any number of "progress", and one that says how it ended.
   * @throws {OptionError} naming what is wrong with the request.
   * @throws {ModelError} when the model cannot be had.
   */
  async download(data: Data, signal: AbortSignal, tell: (progress: Answer) => void): Promise<Answer> {
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
        throw new Error(`${mostDownloads} downloads are under way; try again when one is done.`);
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
        say("error", { error: error instanceof Error ? error.message : String(error) });
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
   * Answers `models.delete`: the repository goes, or of several revisions the one that is named.
   * @throws {ModelError} when it cannot be deleted.
   */
  async delete(data: Data): Promise<Answer> {
    const repository = required("repo_id", data);
    const revision = optional("revision", data) ?? undefined;
    if (this.#needs.has(repository))
      throw new Error(`${repository} is in use by a run or a download; end that, or wait, then delete it.`);
    if (this.#engine.held?.model === repository) await this.#engine.evict();
    return { deleted: await deleteModel(repository, { revision }) };
  }
}

/** NodeTool's UnifiedModel. */
const describe = ({ repository, folder, bytes, family, hasModelIndex }: CachedModel): Answer => ({
  id: repository,
  type: family === null ? null : fluxDepthType,
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

function required(name: string, data: Data): string {
  const text = optional(name, data);
  if (text === null) throw new Error(`${name} must be a text that is not empty.`);
  return text;
}

/** Blank is absent. */
function optional(name: string, data: Data): string | null {
  const value = data[name] ?? "";
  if (typeof value !== "string") throw new Error(`${name} must be a text.`);
  return value.trim() || null;
}
