/*
 * The engine's process: holds one model and runs one job at a time. Its owner talks to it over the channel that `fork`
 * opens; when the channel closes, the process ends.
 */
import { serializeError } from "../errors.js";
import type { FluxDepth } from "../pipeline/flux-depth.js";
import { endWithOwner, tellOwner } from "./owner.js";
import type { EngineJob, EngineResult, HeldModel, LoadProgress, ToEngine } from "./protocol.js";

let running: { readonly id: number; readonly controller: AbortController } | null = null;
let held: FluxDepth | null = null;
/** Reports the reading of weights, on behalf of the current job. */
let onLoad: (progress: LoadProgress) => void = () => {};

process.on("message", (message: ToEngine) => {
  if (message.type === "generate") void run(message.id, message.job);
  else if (running?.id === message.id) running.controller.abort();
});
endWithOwner();

async function run(id: number, job: EngineJob): Promise<void> {
  const controller = new AbortController();
  running = { id, controller };
  tellOwner({ type: "event", id, event: { type: "started" } });
  onLoad = (progress) => tellOwner({ type: "event", id, event: { type: "load", ...progress } });
  try {
    const result = await generate(id, job, controller.signal);
    tellOwner({ type: "result", id, result, held: describeHeld() });
  } catch (error) {
    tellOwner({ type: "error", id, error: serializeError(error), held: describeHeld() });
  } finally {
    running = null;
  }
}

async function generate(id: number, job: EngineJob, signal: AbortSignal): Promise<EngineResult> {
  const { load, request, previewEvery = 0, format = "png" } = job;
  const flux = await modelFor(load, signal);
  for await (const event of flux.steps({ ...request, previewEvery, signal })) {
    if (event.type !== "result") {
      tellOwner({ type: "event", id, event });
      continue;
    }
    const { image, seed, metadata, timings, warnings } = event.result;
    const { width, height } = image;
    const encoded = await event.result.encode(format);
    return { image: encoded, format, width, height, seed, metadata, timings, warnings };
  }
  throw new Error("the generation ended without a result");
}

/**
 * Returns the held model if the options still mean it; otherwise replaces it. Looking a model up is cheap, because
 * weights are read later, and notices a new revision of the repository.
 */
async function modelFor(load: EngineJob["load"], signal: AbortSignal): Promise<FluxDepth> {
  const { FluxDepth } = await import("../pipeline/flux-depth.js");
  const found = await FluxDepth.load({ ...load, signal, onProgress: (progress) => onLoad(progress) });
  if (held && keyOf(held) === keyOf(found)) {
    found.dispose();
    return held;
  }
  held?.dispose();
  held = found;
  return found;
}

const describeHeld = (): HeldModel | null =>
  held && { model: held.model.name, bytes: process.memoryUsage.rss() };

const keyOf = ({ model, options, loras }: FluxDepth): string =>
  JSON.stringify([
    model.folder,
    model.revision,
    Object.entries(options).sort(),
    loras.map(({ sha256 }) => sha256),
  ]);
