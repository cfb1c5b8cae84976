/*
 * The engine's process: holds one model and runs one job at a time. Its owner talks to it over the channel that `fork`
 * opens; when the channel closes, the process ends.
 */
import { untilAborted } from "../abort.js";
import { serializeError } from "../errors.js";
import { encodePreview } from "../images/encode.js";
import type { StepEvent } from "../pipeline/events.js";
import type { FluxDepth } from "../pipeline/flux-depth.js";
import type { Judge } from "../pipeline/judge.js";
import type { GenerationResult } from "../pipeline/result.js";
import { CheckpointTimer } from "./checkpoint-timer.js";
import { Interludes } from "./interludes.js";
import { endWithOwner, tellOwner } from "./owner.js";
import type { EngineEvent, EngineJob, EngineResult, HeldModel, LoadProgress, ToEngine } from "./protocol.js";

let running: { readonly id: number; readonly controller: AbortController } | null = null;
let held: FluxDepth | null = null;
const interludes = new Interludes();
/** Reports the reading of weights, on behalf of the current job. */
let onLoad: (progress: LoadProgress) => void = () => {};

process.on("message", (message: ToEngine) => {
  switch (message.type) {
    case "generate":
      return void run(message.id, message.job);
    case "cancel":
      if (running?.id === message.id) running.controller.abort();
      return;
    case "depth":
      interludes.add(message.id, message.job);
      if (!running) void interludes.run();
      return;
    case "cancel-depth":
      interludes.cancel(message.id);
  }
});
endWithOwner();

async function run(id: number, job: EngineJob): Promise<void> {
  const controller = new AbortController();
  running = { id, controller };
  const tell = (event: EngineEvent): void => tellOwner({ type: "event", id, event });
  onLoad = (progress) => tell({ type: "load", ...progress });
  try {
    // An interlude may have begun without a job.
    await untilAborted(interludes.run(), controller.signal);
    const result = await generate(job, tell, controller.signal);
    tellOwner({ type: "result", id, result, held: describeHeld() });
  } catch (error) {
    tellOwner({ type: "error", id, error: serializeError(error), held: describeHeld() });
  } finally {
    running = null;
    void interludes.run();
  }
}

type Tell = (event: EngineEvent) => void;

async function generate(job: EngineJob, tell: Tell, signal: AbortSignal): Promise<EngineResult> {
  const { load, request, previews, format = "png" } = job;
  const flux = await modelFor(load, signal);
  const { fingerprint } = flux;
  tell({ type: "started", fingerprint });
  // Before generating, because it may be missing.
  using judge = job.includeFidelity ? await judgeFor(flux, request, signal) : null;
  const resume = job.resume?.fingerprint === fingerprint ? job.resume : null;
  if (resume) tell({ type: "resumed", step: resume.step });
  const tellStep = stepTeller(job, tell);
  const events = flux.steps({
    ...request,
    previewEvery: previews?.every,
    previewKind: previews?.kind,
    withLatents: job.checkpoints !== undefined,
    resume,
    signal,
  });
  for await (const event of events) {
    if (event.type === "result") {
      const result = judge ? await scoredBy(judge, event.result, signal) : event.result;
      const { image, seed, metadata, timings, warnings, depthMap, latents } = result;
      const { width, height } = image;
      return {
        image: await result.encode(format),
        ...{ format, width, height, seed, metadata, timings, warnings },
        depthMap: job.includeDepthMap ? depthMap : null,
        latents: job.includeLatents ? latents : null,
        fidelity: metadata.fidelity,
      };
    }
    if (event.type === "step") await tellStep(event);
    else tell(event);
    // The generation pauses while this loop is busy.
    await untilAborted(interludes.run(), signal);
  }
  throw new Error("the generation ended without a result");
}

async function judgeFor(flux: FluxDepth, request: EngineJob["request"], signal: AbortSignal): Promise<Judge> {
  const { Judge } = await import("../pipeline/judge.js");
  return Judge.obtain(flux, request, { signal, onProgress: (progress) => onLoad(progress) });
}

async function scoredBy(
  judge: Judge,
  result: GenerationResult,
  signal: AbortSignal,
): Promise<GenerationResult> {
  const { withFidelity } = await import("../pipeline/judge.js");
  return withFidelity(result, await judge.score(result, signal));
}

/** Makes the function that reports steps, with the previews and checkpoints that a job asks for. */
function stepTeller({ checkpoints }: EngineJob, tell: Tell): (event: StepEvent) => Promise<void> {
  const timer = checkpoints && new CheckpointTimer(checkpoints);
  let knowsDepthMap = false;
  return async ({ preview, latents, depthMap = null, ...step }) => {
    tell({ ...step, ...(preview && { preview: await encodePreview(preview) }) });
    if (!latents || !timer?.step()) return;
    tell({ type: "checkpoint", step: step.index, latents, depthMap: knowsDepthMap ? null : depthMap });
    knowsDepthMap = true;
  };
}

/**
 * Returns the held model if the options still refer to it; otherwise replaces it. Looking up a model is cheap, because
 * weights are read later, and detects a new revision of the repository.
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
