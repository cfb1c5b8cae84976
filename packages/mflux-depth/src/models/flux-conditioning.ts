import { add, array, astype, type DType, type MxArray, scope } from "@mflux-depth/mlx";
import { Linear, Module, type RotaryTables } from "@mflux-depth/mlx/nn";

/*
 * The inputs of the FLUX.1 transformer that are not tokens: positions, time, guidance, and the embedding of the whole
 * prompt.
 */

// ---------------------------------------------------------------- positions

/**
 * Computes the rotary tables `[T + N, head_dim / 2]` for `textTokens` text tokens followed by an image of
 * `rows × columns` tokens. Text tokens have the position (0, 0, 0), image tokens (0, row, column). All steps of a
 * generation share the tables.
 * (diffusers: models/embeddings.py, FluxPosEmbed: theta 10000, in float64 until the end.)
 */
export function rotaryTables(
  config: { readonly axesDimsRope: readonly number[]; readonly attentionHeadDim: number },
  size: { rows: number; columns: number; textTokens: number },
): RotaryTables {
  const { rows, columns, textTokens } = size;
  const pairs = config.attentionHeadDim / 2;
  const tokens = textTokens + rows * columns;
  const frequencies = config.axesDimsRope.map((dims) =>
    Array.from({ length: dims / 2 }, (_, i) => 10000 ** ((-2 * i) / dims)),
  );
  const cos = new Float32Array(tokens * pairs);
  const sin = new Float32Array(tokens * pairs);
  for (let token = 0; token < tokens; token++) {
    const place = token - textTokens;
    const position = place < 0 ? [0, 0, 0] : [0, Math.floor(place / columns), place % columns];
    let at = token * pairs;
    for (const [axis, ofAxis] of frequencies.entries())
      for (const frequency of ofAxis) {
        const angle = position[axis]! * frequency;
        cos[at] = Math.cos(angle);
        sin[at] = Math.sin(angle);
        at++;
      }
  }
  const shape = [tokens, pairs];
  return { cos: array(cos, { shape }), sin: array(sin, { shape }) };
}

// ---------------------------------------------------------------- time, guidance, pooled text

const sinusoidChannels = 256;

/**
 * Cosines, then sines of `value` at 128 frequencies: `[256]` float32. Every intermediate is rounded to float32 as in the
 * reference: at guidance 10 the angles reach 10000, where a more exact frequency gives a visibly different cosine.
 * (diffusers: models/embeddings.py, get_timestep_embedding with flip_sin_to_cos.)
 */
export function sinusoid(value: number): Float32Array {
  const half = sinusoidChannels / 2;
  const embedding = new Float32Array(sinusoidChannels);
  const slope = Math.fround(-Math.log(10000));
  for (let i = 0; i < half; i++) {
    const exponent = Math.fround(Math.fround(slope * i) / half);
    const angle = Math.fround(Math.fround(value) * Math.fround(Math.exp(exponent)));
    embedding[i] = Math.cos(angle);
    embedding[half + i] = Math.sin(angle);
  }
  return embedding;
}

/** Rounds `value` to the nearest number of a dtype. */
function rounded(value: number, dtype: DType): number {
  if (dtype === "float32") return Math.fround(value);
  return scope(() => astype(array(value, { dtype }), "float32").item() as number);
}

/**
 * The embedded timestep, 0 to 1000. In 16-bit dtypes, it is rounded whenever diffusers' pipeline and transformer
 * convert it.
 * @param timestep the noise level, 0 to 1.
 */
export function embeddedTimestep(timestep: number, dtype: DType): number {
  if (dtype === "float32") return Math.fround(Math.fround(timestep) * 1000);
  const scheduled = rounded(Math.fround(timestep) * 1000, dtype);
  return rounded(rounded(scheduled / 1000, dtype) * 1000, dtype);
}

/** The embedded guidance: a thousand times the scale, rounded like the timestep. */
export const embeddedGuidance = (guidance: number, dtype: DType): number =>
  rounded(rounded(guidance, dtype) * 1000, dtype);

/** Two linear layers with SiLU in between, `[B, inChannels]` → `[B, D]`. */
class Mlp extends Module {
  readonly linear1: Linear;
  readonly linear2: Linear;

  constructor(inChannels: number, dims: number) {
    super();
    this.linear1 = new Linear(inChannels, dims);
    this.linear2 = new Linear(dims, dims);
  }

  forward(x: MxArray): MxArray {
    return this.linear2.forward(this.linear1.forward(x, "silu"));
  }
}

/** Embeds what modulates every block: the timestep, the guidance and the whole prompt. */
export class TimeTextEmbed extends Module {
  readonly timestepEmbedder: Mlp;
  readonly guidanceEmbedder: Mlp | null;
  readonly textEmbedder: Mlp;

  constructor(
    dims: number,
    config: { readonly guidanceEmbeds: boolean; readonly pooledProjectionDim: number },
  ) {
    super();
    this.timestepEmbedder = new Mlp(sinusoidChannels, dims);
    this.guidanceEmbedder = config.guidanceEmbeds ? new Mlp(sinusoidChannels, dims) : null;
    this.textEmbedder = new Mlp(config.pooledProjectionDim, dims);
  }

  /** `pooled [B, pooledProjectionDim]` → `[B, D]`. A model without guidance embedder ignores `guidance`. */
  forward(timestep: number, guidance: number, pooled: MxArray): MxArray {
    const { dtype } = pooled;
    const waves = (value: number): MxArray =>
      astype(array(sinusoid(value), { shape: [1, sinusoidChannels] }), dtype);
    const time = this.timestepEmbedder.forward(waves(embeddedTimestep(timestep, dtype)));
    const text = this.textEmbedder.forward(pooled);
    if (!this.guidanceEmbedder) return add(time, text);
    const guided = this.guidanceEmbedder.forward(waves(embeddedGuidance(guidance, dtype)));
    return add(add(time, guided), text);
  }
}
