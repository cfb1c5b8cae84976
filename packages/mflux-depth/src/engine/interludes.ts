import { serializeError } from "../errors.js";
import type { DepthWork } from "./depth-work.js";
import { tellOwner } from "./owner.js";
import type { DepthJob } from "./protocol.js";

interface Interlude {
  readonly id: number;
  readonly job: DepthJob;
  readonly controller: AbortController;
}

/** Depth estimates that wait for a pause between two steps of the current job, whose model stays in memory. */
export class Interludes {
  readonly #waiting: Interlude[] = [];
  #current: { readonly interlude: Interlude; readonly ended: Promise<void> } | null = null;
  #work: DepthWork | null = null;

  add(id: number, job: DepthJob): void {
    this.#waiting.push({ id, job, controller: new AbortController() });
  }

  cancel(id: number): void {
    for (const { id: other, controller } of [
      ...this.#waiting,
      ...(this.#current ? [this.#current.interlude] : []),
    ])
      if (other === id) controller.abort();
  }

  /** Carries out waiting estimates one after another, and sends the answers. Resolves when none is left. */
  async run(): Promise<void> {
    for (;;) {
      if (this.#current) await this.#current.ended;
      else {
        const interlude = this.#waiting.shift();
        if (!interlude) return;
        const ended = this.#answer(interlude).finally(() => {
          this.#current = null;
        });
        this.#current = { interlude, ended };
      }
    }
  }

  async #answer({ id, job, controller: { signal } }: Interlude): Promise<void> {
    try {
      signal.throwIfAborted();
      const { DepthWork } = await import("./depth-work.js");
      const { requireRoom } = await import("../pipeline/estimate-room.js");
      this.#work ??= new DepthWork();
      const estimator = await this.#work.estimatorOf(job, signal);
      if (!job.load.force) requireRoom(estimator);
      tellOwner({ type: "depth", id, result: await this.#work.estimate(job, estimator, signal) });
    } catch (error) {
      tellOwner({ type: "depth-error", id, error: serializeError(error) });
    }
  }
}
