import type { DepthMap } from "mflux-depth/engine";
import type { StoredPicture } from "../blobs/blobs.js";
import type { FileStore } from "../blobs/file-store.js";
import { ServiceError } from "../errors.js";
import type { History } from "../history/history.js";
import { depthValues, imageArtifact } from "../history/job-object.js";
import type { Preview } from "../history/live.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { Ledger } from "../ledger/ledger.js";
import { outcomes } from "./words.js";

/** A preview, which exists in memory only. */
export type PreviewPicture = Omit<StoredPicture, "sha256">;

/** The results of jobs. */
export class Results {
  readonly #ledger: Ledger;
  readonly #history: History;
  readonly #files: FileStore;

  constructor(ledger: Ledger, history: History, files: FileStore) {
    this.#ledger = ledger;
    this.#history = history;
    this.#files = files;
  }

  /**
   * The n-th picture of a job, from 1; the best or only one by default.
   * @throws {ServiceError} `not_found`, `job_not_finished`, `no_image`, `damaged_file`
   */
  async image(id: string, number = 1): Promise<StoredPicture> {
    return this.#open(this.#artifact(id, imageArtifact(number)));
  }

  /**
   * The depth map as the job used it, from 0 (far) to 1 (near).
   * @throws {ServiceError} `not_found`, `job_not_finished`, `no_image`, `damaged_file`
   */
  async depthMap(id: string): Promise<DepthMap> {
    const { bytes, width, height } = await this.#open(this.#artifact(id, depthValues));
    // Copied to be aligned for floats.
    return { data: new Float32Array(Uint8Array.from(bytes).buffer), width, height };
  }

  /** The latest preview. @throws {ServiceError} `not_found` if the preview of that step is gone or was never made. */
  preview(id: string, step: number): PreviewPicture {
    this.#history.find(id);
    const preview: Preview | null = this.#history.previewOf(id);
    if (preview?.step !== step)
      throw new ServiceError(
        "not_found",
        "This preview is gone; a preview lasts until the next one, or until the job ends.",
      );
    return preview;
  }

  #artifact(id: string, name: string): ArtifactRecord {
    const { state } = this.#history.find(id);
    if (state === "queued" || state === "running")
      throw new ServiceError("job_not_finished", `This job is ${state}; wait until it has finished.`);
    const artifact = this.#ledger.files.artifactsOf(id).find((one) => one.name === name);
    if (!artifact) throw new ServiceError("no_image", `This job ${outcomes[state]} and has no such picture.`);
    return artifact;
  }

  async #open({ sha256, mime, width, height }: ArtifactRecord): Promise<StoredPicture> {
    return { bytes: await this.#files.read(sha256), mime, width, height, sha256 };
  }
}
