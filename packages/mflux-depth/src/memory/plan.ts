/*
 * How much memory a generation will need, stage by stage, from configs and headers alone, and what the machine has.
 * Activations are counted from the models' sizes; the factors are measured on the CPU backend in float32, with room.
 */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { type DeviceType, defaultDevice, deviceInfo, memory } from "@mflux-depth/mlx";
import { describeBytes } from "../bytes.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { MemoryError } from "../errors.js";
import { Autoencoder, reductionOf } from "../models/autoencoder.js";
import type { FluxTransformerConfig } from "../models/flux-transformer.js";
import type { T5Config } from "../models/t5.js";
import type { Bits, MemoryPolicy, ResolvedLoadOptions, ResolvedRequest } from "../options/index.js";
import type { Stage } from "../pipeline/generation.js";
import type { Parts } from "../pipeline/parts.js";
import type { HeldSize } from "../weights/component.js";

/** Bytes of one stage at its worst. */
export interface StageMemory {
  readonly stage: Stage;
  /** Weights that are held then, those of other stages included. */
  readonly weights: number;
  /** What the stage computes with. */
  readonly work: number;
  readonly peak: number;
}

/** What the machine can give, in bytes. */
export interface MachineMemory {
  readonly total: number;
  /** What this process could have now, counting what it holds already. */
  readonly available: number;
  /** Where the figure comes from: "memory", "control group", "GPU", "MFLUX_DEPTH_MEMORY_GB". */
  readonly source: string;
}

/** Settings that would fit, as options of the library. */
export interface Alternative {
  readonly memory?: MemoryPolicy;
  readonly quantize?: Bits;
  readonly width?: number;
  readonly height?: number;
  readonly peak: number;
}

export interface MemoryPlan {
  readonly stages: readonly StageMemory[];
  /** Of all stages. */
  readonly peak: number;
  readonly machine: MachineMemory;
  readonly fits: boolean;
  /** Where it does not fit: the least changes that would. */
  readonly alternatives: readonly Alternative[];
}

/** What a plan is made for. */
export interface PlanRequest {
  readonly width: number;
  readonly height: number;
  readonly maxSequenceLength: number | undefined;
  /** Whether depth is inferred from a photo. */
  readonly infersDepth: boolean;
  /** Whether a photo is encoded to start from. */
  readonly startsFromPhoto: boolean;
  readonly previews: boolean;
}

/** What a request means for memory. */
export const planRequest = (request: ResolvedRequest, previews = false): PlanRequest => ({
  width: request.width,
  height: request.height,
  maxSequenceLength: request.maxSequenceLength,
  infersDepth: request.depthImage === undefined,
  startsFromPhoto: request.imageStrength > 0,
  previews,
});

/** Node, MLX, BLAS and the picture codec, before anything is loaded. */
const programBytes = 150e6;

// ---------------------------------------------------------------- stages

interface Settings {
  readonly memory: MemoryPolicy;
  /** Undefined: those of the parts. */
  readonly bits?: Bits;
}

/**
 * Estimates a generation.
 * @param depth the model that infers depth, where one is needed and at hand.
 * @throws {ModelError} when weights are missing or damaged.
 */
export function planMemory(
  parts: Parts,
  options: Pick<ResolvedLoadOptions, "memory">,
  request: PlanRequest,
  context: { device: DeviceType; machine: MachineMemory; depth?: DepthEstimator | null },
): MemoryPlan {
  const { device, machine, depth = null } = context;
  const sizes = sizesOf(parts, depth);
  const stagesFor = (settings: Settings, size: PlanRequest): StageMemory[] =>
    stagesOf(parts, sizes(settings.bits), settings, size, { device, available: machine.available, depth });
  const stages = stagesFor(options, request);
  const peak = peakOf(stages);
  const fits = peak <= machine.available;
  return {
    stages,
    peak,
    machine,
    fits,
    alternatives: fits ? [] : alternativesFor(parts, options, request, stagesFor, machine),
  };
}

const peakOf = (stages: readonly StageMemory[]): number => Math.max(...stages.map(({ peak }) => peak));

type Sizes = Readonly<Record<"clip" | "t5" | "vae" | "transformer" | "depth", HeldSize>>;

/** The sizes of all weights by bits, each read once. */
function sizesOf(parts: Parts, depth: DepthEstimator | null): (bits: Bits | undefined) => Sizes {
  const depthSize = depth?.size() ?? { bytes: 0, reading: 0 };
  const known = new Map<Bits | undefined, Sizes>();
  return (bits) => {
    const sizes = known.get(bits) ?? {
      clip: parts.clip.size(bits),
      t5: parts.t5.size(bits),
      vae: parts.autoencoder.size(bits),
      transformer: parts.transformer.size(bits),
      depth: depthSize,
    };
    known.set(bits, sizes);
    return sizes;
  };
}

function stagesOf(
  parts: Parts,
  sizes: Sizes,
  { memory: policy }: Settings,
  request: PlanRequest,
  context: { device: DeviceType; available: number; depth: DepthEstimator | null },
): StageMemory[] {
  const { device, available, depth } = context;
  const { autoencoderConfig, transformerConfig, t5Config, dtype } = parts;
  const low = policy === "low";
  const width = dtype === "float32" ? 4 : 2;
  const fused = device === "cpu" && dtype === "float32";
  const textTokens = Math.min(request.maxSequenceLength ?? 512, 512);
  const { width: w, height: h } = request;
  const imageTokens = (w * h) / (2 * reductionOf(autoencoderConfig)) ** 2;

  const stages: StageMemory[] = [];
  /** Weights that stay from stage to stage. */
  let kept = 0;
  const stage = (name: Stage, weights: HeldSize, held: number, work: number): void => {
    const needed = Math.max(work, weights.reading);
    stages.push({ stage: name, weights: held, work: needed, peak: programBytes + held + needed });
  };

  const together = {
    bytes: sizes.clip.bytes + sizes.t5.bytes,
    reading: Math.max(sizes.clip.reading, sizes.t5.reading),
  };
  stage(
    "text",
    together,
    low ? Math.max(sizes.clip.bytes, sizes.t5.bytes) : together.bytes,
    t5Work(t5Config, textTokens, width),
  );
  if (!low) kept += together.bytes;
  if (request.infersDepth && depth) {
    stage("depth", sizes.depth, kept + sizes.depth.bytes, depth.workingMemory());
  }
  const vae = sizes.vae;
  const numbers = { bytes: dtype === "float16" ? 4 : width, fused };
  using autoencoder = new Autoencoder(autoencoderConfig);
  /** What is left for the autoencoder where so much is held. */
  const limit = (held: number): number => Math.max(0, available - programBytes - held);
  const encoding = (held: number): number => autoencoder.encodingBytes(h, w, numbers, limit(held));
  // The picture as MLX, JavaScript and the codec have it.
  const picture = 3 * 8 * w * h;
  const decoding = (held: number): number =>
    autoencoder.decodingBytes(h, w, numbers, limit(held + picture)) + picture;
  const whileEncoding = kept + vae.bytes;
  stage("control", vae, whileEncoding, encoding(whileEncoding));
  if (request.startsFromPhoto) stage("image", vae, whileEncoding, encoding(whileEncoding));
  if (!low) kept += vae.bytes;
  const stepping = denoiseWork(transformerConfig, imageTokens + textTokens, width);
  const beside = low && request.previews ? vae.bytes : 0;
  const whileStepping = kept + beside + sizes.transformer.bytes;
  const cached = device === "cpu" ? Math.min(stepping, stepCacheBytes()) : 0;
  stage(
    "denoise",
    sizes.transformer,
    whileStepping,
    cached + Math.max(stepping, request.previews ? decoding(whileStepping + cached) : 0),
  );
  if (!low) kept += sizes.transformer.bytes;
  const whileDecoding = low ? vae.bytes : kept;
  stage("decode", vae, whileDecoding, decoding(whileDecoding));
  return stages;
}

/** Hidden states and the feed-forward's two halves, the scores of a group of heads, and the bias by distance. */
function t5Work({ dModel, dFf, numHeads }: T5Config, tokens: number, width: number): number {
  const scores = 4 * numHeads * tokens * tokens;
  return width * tokens * (6 * dModel + 4 * dFf) + 2 * Math.min(scores, 64e6) + scores + 1e6;
}

/** A block's activations at once: 21 times the hidden states, measured from 320 to 2816 tokens. */
const denoiseWork = (config: FluxTransformerConfig, tokens: number, width: number): number =>
  22 * width * tokens * config.attentionHeadDim * config.numAttentionHeads;

// ---------------------------------------------------------------- the machine

/**
 * What this process can have: a GPU's recommended working set, else the memory that is free or can be freed, within
 * the limit of its control group. MFLUX_DEPTH_MEMORY_GB (10⁹ bytes) replaces it.
 */
export function machineMemory(device: DeviceType, env: NodeJS.ProcessEnv = process.env): MachineMemory {
  const wish = Number(env.MFLUX_DEPTH_MEMORY_GB);
  if (wish > 0) return { total: wish * 1e9, available: wish * 1e9, source: "MFLUX_DEPTH_MEMORY_GB" };
  const info = device === "gpu" ? deviceInfo("gpu") : {};
  const gpu = Number(info.max_recommended_working_set_size ?? info.total_memory);
  if (gpu > 0) return { total: gpu, available: gpu, source: "GPU" };
  // What MLX holds already is this process's to use.
  const own = memory.activeMemory() + memory.cacheMemory();
  const free = availableInSystem() + own;
  const group = controlGroup();
  if (group && group.free + own < free)
    return { total: group.limit, available: group.free + own, source: "control group" };
  return { total: totalmem(), available: Math.min(free, totalmem()), source: "memory" };
}

/** Bytes that computing can have now beside all that is held, as a plan counts them. */
export const roomLeft = (): number => {
  const { available } = machineMemory(defaultDevice());
  return Math.max(0, available - programBytes - memory.activeMemory());
};

/**
 * How much of freed buffers MLX had better keep from one block to the next on the CPU, where a fresh buffer costs a
 * page fault every 4 kB, a tenth of a step: what a block needs, within a twelfth of the memory.
 */
export const stepCacheBytes = (): number => Math.floor(Math.min(2e9, machineMemory("cpu").total / 12));

/** The same while tensors are quantized, one after another: enough for those of a block. */
export const readingCacheBytes = (): number => Math.min(3e8, stepCacheBytes());

/** The same at other times, when nothing of the size is needed again: MLX's own limit on the CPU. */
export const restingCacheBytes = 32 * 2 ** 20;

/** Linux: what could be had without swapping. */
function availableInSystem(): number {
  const found = /^MemAvailable:\s+(\d+) kB/m.exec(textOf("/proc/meminfo"));
  // macOS counts what it keeps of files as used: most of it can be had.
  return found ? Number(found[1]) * 1024 : process.platform === "darwin" ? 0.8 * totalmem() : freemem();
}

/** The tightest control group around this process, version 2 or 1. */
function controlGroup(): { limit: number; free: number } | null {
  let tightest: { limit: number; free: number } | null = null;
  for (const line of textOf("/proc/self/cgroup").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined || (controllers !== "" && !controllers!.split(",").includes("memory"))) continue;
    const [root, limitFile, usedFile, fileKey] =
      controllers === ""
        ? ["/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"]
        : ["/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
    const steps = path.split("/").filter((step) => step !== "");
    // Inside a container the group's own folder is the root.
    for (let depth = steps.length; depth >= 0; depth--) {
      const folder = [root, ...steps.slice(0, depth)].join("/");
      const limit = Number(textOf(`${folder}/${limitFile}`) || Number.NaN);
      if (!(limit > 0) || limit >= totalmem()) continue;
      const stat = new RegExp(`^${fileKey} (\\d+)`, "m").exec(textOf(`${folder}/memory.stat`));
      const used = Number(textOf(`${folder}/${usedFile}`)) - Number(stat?.[1] ?? 0);
      const free = Math.max(0, limit - used);
      if (!tightest || free < tightest.free) tightest = { limit, free };
    }
  }
  return tightest;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

// ---------------------------------------------------------------- what would fit

const bitWidths: readonly Bits[] = [8, 6, 5, 4, 3];
/** Of the picture's larger side. */
const smallerSides = [1024, 768, 512, 256];

/** Of each kind of change, and of them together, the least that fits: memory policy, bits, size. */
function alternativesFor(
  parts: Parts,
  options: Pick<ResolvedLoadOptions, "memory">,
  request: PlanRequest,
  stagesFor: (settings: Settings, size: PlanRequest) => StageMemory[],
  machine: MachineMemory,
): Alternative[] {
  const policies: MemoryPolicy[] = options.memory === "low" ? ["low"] : ["resident", "low"];
  const fewer = parts.bitsAreStored ? [] : bitWidths.filter((bits) => bits < (parts.bits ?? 16));
  const longest = Math.max(request.width, request.height);
  const scaled = smallerSides
    .filter((side) => side < longest)
    .map((side) => {
      const fit = (length: number): number => Math.max(16, Math.floor((length * side) / longest / 16) * 16);
      return { ...request, width: fit(request.width), height: fit(request.height) };
    });
  const found: Alternative[] = [];
  for (const size of [request, ...scaled]) {
    for (const policy of policies) {
      for (const bits of [undefined, ...fewer]) {
        const peak = peakOf(stagesFor({ memory: policy, ...(bits && { bits }) }, size));
        if (peak > machine.available) continue;
        found.push({
          ...(policy !== options.memory && { memory: policy }),
          ...(bits && { quantize: bits }),
          ...(size !== request && { width: size.width, height: size.height }),
          peak,
        });
        if (bits === undefined) return found;
        break;
      }
    }
    if (found.length > 0) return found;
  }
  return found;
}

/** @throws {MemoryError} when a plan does not fit, with the numbers and the settings that would. */
export function requireFit({ stages, peak, machine, fits, alternatives }: MemoryPlan): void {
  if (fits) return;
  const { stage } = stages.find((one) => one.peak === peak)!;
  const { available, source } = machine;
  throw new MemoryError(
    peak,
    available,
    `This needs about ${describeBytes(peak)} of memory in the stage ${stage}, but only ${describeBytes(available)} are available (${source}).`,
    {
      details: {
        stage,
        machine,
        alternatives,
        remedies: [{ kind: "set-option", option: "force", value: true, purpose: "try anyway" }],
      },
    },
  );
}
