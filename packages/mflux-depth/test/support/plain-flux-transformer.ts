/*
 * The FLUX transformer in plain loops over numbers, in double precision: the reference at sizes that no golden tensor has.
 */
import assert from "node:assert/strict";
import type { FluxTransformer, FluxTransformerConfig } from "../../src/models/flux-transformer.js";
import type { Matrix } from "./float64.js";
import { values } from "./tensors.js";

/** The transformer for a single image, from the paper's equations. */
export class PlainFluxTransformer {
  private readonly parameters = new Map<string, number[]>();
  private readonly shapes = new Map<string, readonly number[]>();

  constructor(
    model: FluxTransformer,
    private readonly config: FluxTransformerConfig,
  ) {
    for (const [path, parameter] of model.parameters()) {
      this.parameters.set(path, Array.from(values(parameter)));
      this.shapes.set(path, parameter.shape);
    }
  }

  /** `[tokens, in]` → `[tokens, out]`. */
  private linear(path: string, x: Matrix): Matrix {
    const [weight, bias] = [this.parameters.get(`${path}.weight`)!, this.parameters.get(`${path}.bias`)!];
    const [out, inputs] = this.shapes.get(`${path}.weight`) as [number, number];
    return x.map((row) => {
      assert.equal(row.length, inputs);
      return Array.from({ length: out }, (_, o) =>
        row.reduce((sum, v, i) => sum + v * weight[o * inputs + i]!, bias[o]!),
      );
    });
  }

  /** `count` vectors of shift, scale or gate. */
  private modulation(path: string, condition: number[], count: number): number[][] {
    const [all] = this.linear(`${path}.linear`, [condition]);
    const dims = all!.length / count;
    return Array.from({ length: count }, (_, i) => all!.slice(i * dims, (i + 1) * dims));
  }

  /** Splits the channels into heads, `[heads, tokens, head_dim]`, with an RMS norm if one is named. */
  private heads(x: Matrix, norm: string | null): number[][][] {
    const size = this.config.attentionHeadDim;
    const weight = norm ? this.parameters.get(`${norm}.weight`)! : null;
    return Array.from({ length: this.config.numAttentionHeads }, (_, head) =>
      x.map((row) => {
        const ofHead = row.slice(head * size, (head + 1) * size);
        const square = ofHead.reduce((sum, v) => sum + v * v, 0) / size;
        const scale = weight ? 1 / Math.sqrt(square + 1e-6) : 1;
        return ofHead.map((v, i) => v * scale * (weight ? weight[i]! : 1));
      }),
    );
  }

  /** Applies rotary embeddings to one head, `[tokens, head_dim]`. */
  private rotate(head: Matrix, positions: number[][]): Matrix {
    return head.map((row, token) => {
      const angles = this.config.axesDimsRope.flatMap((dims, axis) =>
        Array.from({ length: dims / 2 }, (_, i) => positions[token]![axis]! / 10000 ** ((2 * i) / dims)),
      );
      return row.map((v, i) => {
        const angle = angles[i >> 1]!;
        return i % 2 === 0
          ? v * Math.cos(angle) - row[i + 1]! * Math.sin(angle)
          : v * Math.cos(angle) + row[i - 1]! * Math.sin(angle);
      });
    });
  }

  /** Attention of all heads, joined again: `[tokens, heads · head_dim]`. */
  private attend(q: number[][][], k: number[][][], v: number[][][], positions: number[][]): Matrix {
    const size = this.config.attentionHeadDim;
    const out: Matrix = positions.map(() => []);
    for (const [head, queries] of q.entries()) {
      const [rotated, keys] = [this.rotate(queries, positions), this.rotate(k[head]!, positions)];
      for (const [token, query] of rotated.entries()) {
        const scores = keys.map((key) => key.reduce((sum, x, i) => sum + x * query[i]!, 0) / Math.sqrt(size));
        const most = Math.max(...scores);
        const exps = scores.map((score) => Math.exp(score - most));
        const total = exps.reduce((sum, e) => sum + e, 0);
        for (let i = 0; i < size; i++)
          out[token]!.push(exps.reduce((sum, e, t) => sum + (e / total) * v[head]![t]![i]!, 0));
      }
    }
    return out;
  }

  private feedForward(path: string, x: Matrix): Matrix {
    return this.linear(`${path}.net.2`, map(geluTanh, this.linear(`${path}.net.0.proj`, x)));
  }

  private embedding(path: string, x: number[]): number[] {
    const embedder = `timeTextEmbed.${path}`;
    return this.linear(`${embedder}.linear2`, map(silu, this.linear(`${embedder}.linear1`, [x])))[0]!;
  }

  /** Predicts the velocity, `[image tokens, out_channels]`. */
  forward(
    hidden: Matrix,
    encoder: Matrix,
    pooled: number[],
    { timestep, guidance, columns }: { timestep: number; guidance: number; columns: number },
  ): Matrix {
    let image = this.linear("xEmbedder", hidden);
    let text = this.linear("contextEmbedder", encoder);
    const embedded = [
      this.embedding("timestepEmbedder", waves(1000 * timestep)),
      this.embedding("textEmbedder", pooled),
      ...(this.config.guidanceEmbeds ? [this.embedding("guidanceEmbedder", waves(1000 * guidance))] : []),
    ];
    const condition = embedded.reduce((sum, one) => sum.map((v, i) => v + one[i]!)).map(silu);
    const positions = [
      ...text.map(() => [0, 0, 0]),
      ...image.map((_, i) => [0, Math.floor(i / columns), i % columns]),
    ];

    for (let i = 0; i < this.config.numLayers; i++) {
      const block = `transformerBlocks.${i}`;
      const [shift, scale, gate, mlpShift, mlpScale, mlpGate] = this.modulation(
        `${block}.norm1`,
        condition,
        6,
      );
      const [tShift, tScale, tGate, tMlpShift, tMlpScale, tMlpGate] = this.modulation(
        `${block}.norm1Context`,
        condition,
        6,
      );
      const [a, b] = [modulated(image, shift!, scale!), modulated(text, tShift!, tScale!)];
      const joint = (ofText: string, ofImage: string, norms: [string, string] | null): number[][][] => {
        const textHeads = this.heads(
          this.linear(`${block}.attn.${ofText}`, b),
          norms && `${block}.attn.${norms[0]}`,
        );
        const imageHeads = this.heads(
          this.linear(`${block}.attn.${ofImage}`, a),
          norms && `${block}.attn.${norms[1]}`,
        );
        return textHeads.map((head, h) => [...head, ...imageHeads[h]!]);
      };
      const attended = this.attend(
        joint("addQProj", "toQ", ["normAddedQ", "normQ"]),
        joint("addKProj", "toK", ["normAddedK", "normK"]),
        joint("addVProj", "toV", null),
        positions,
      );
      image = gated(image, gate!, this.linear(`${block}.attn.toOut.0`, attended.slice(text.length)));
      image = gated(image, mlpGate!, this.feedForward(`${block}.ff`, modulated(image, mlpShift!, mlpScale!)));
      text = gated(text, tGate!, this.linear(`${block}.attn.toAddOut`, attended.slice(0, text.length)));
      text = gated(
        text,
        tMlpGate!,
        this.feedForward(`${block}.ffContext`, modulated(text, tMlpShift!, tMlpScale!)),
      );
    }

    let all = [...text, ...image];
    for (let i = 0; i < this.config.numSingleLayers; i++) {
      const block = `singleTransformerBlocks.${i}`;
      const [shift, scale, gate] = this.modulation(`${block}.norm`, condition, 3);
      const x = modulated(all, shift!, scale!);
      const of = (name: string, norm: string | null): number[][][] =>
        this.heads(this.linear(`${block}.attn.${name}`, x), norm && `${block}.attn.${norm}`);
      const attended = this.attend(of("toQ", "normQ"), of("toK", "normK"), of("toV", null), positions);
      const mlp = map(geluTanh, this.linear(`${block}.projMlp`, x));
      const joined = attended.map((row, t) => [...row, ...mlp[t]!]);
      all = gated(all, gate!, this.linear(`${block}.projOut`, joined));
    }
    const [scale, shift] = this.modulation("normOut", condition, 2);
    return this.linear("projOut", modulated(all.slice(text.length), shift!, scale!));
  }
}

const map = (f: (v: number) => number, x: Matrix): Matrix => x.map((row) => row.map(f));
const silu = (v: number): number => v / (1 + Math.exp(-v));
const geluTanh = (v: number): number =>
  (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
const waves = (value: number): number[] => {
  const angles = Array.from({ length: 128 }, (_, i) => value * 10000 ** (-i / 128));
  return [...angles.map(Math.cos), ...angles.map(Math.sin)];
};
const modulated = (x: Matrix, shift: number[], scale: number[]): Matrix =>
  x.map((row) => {
    const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
    return row.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * (1 + scale[i]!) + shift[i]!);
  });
const gated = (x: Matrix, gate: number[], y: Matrix): Matrix =>
  x.map((row, t) => row.map((v, i) => v + gate[i]! * y[t]![i]!));
