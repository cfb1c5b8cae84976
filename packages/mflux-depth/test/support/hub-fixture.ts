import assert from "node:assert/strict";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { ModelError } from "../../src/errors.js";
import { kindFor } from "../../src/families/kinds.js";
import { type ModelSource, type ObtainOptions, obtainRepository } from "../../src/hub/obtain.js";
import type { Repository } from "../../src/hub/repository.js";
import { etagOf, type Fault, type Files, HubServer } from "./hub-server.js";
import { untilWritten } from "./waiting.js";

/** The repository that the tests download. */
export const repository = "someone/tiny";

/** Failing attempts give up within milliseconds; slow ones are waited for. */
export const impatient = { retries: 3, delayMs: 1, stallMs: 60_000, answerMs: 60_000 };

// ---------------------------------------------------------------- files

export const json = JSON.stringify;

/** Bytes without meaning: nothing opens weights before all are on disk. */
export const weights = (size: number, seed: number): Buffer =>
  Buffer.from(Array.from({ length: size }, (_, i) => (i * seed) % 251));

/** The weights of the transformer: the largest file. */
export const transformer = "transformer/diffusion_pytorch_model.safetensors";
export const transformerBytes = weights(300_000, 11);
/** The name of their blob. */
export const transformerEtag = etagOf(transformer, transformerBytes);

/** The files that FLUX.1 Depth needs. */
export const needed: Files = {
  "model_index.json": json({ _class_name: "FluxControlPipeline" }),
  "scheduler/scheduler_config.json": json({ of: "scheduler/scheduler_config.json" }),
  "text_encoder/config.json": json({ a: 1 }),
  "text_encoder/model.safetensors": weights(20_000, 3),
  "text_encoder_2/config.json": json({ b: 1 }),
  "text_encoder_2/model-00001-of-00002.safetensors": weights(30_000, 5),
  "text_encoder_2/model-00002-of-00002.safetensors": weights(1_000, 7),
  "text_encoder_2/model.safetensors.index.json": json({
    weight_map: { x: "model-00001-of-00002.safetensors", y: "model-00002-of-00002.safetensors" },
  }),
  "tokenizer/merges.txt": "#version: 0.2\n",
  "tokenizer/special_tokens_map.json": json({ of: "tokenizer/special_tokens_map.json" }),
  "tokenizer/tokenizer_config.json": json({ of: "tokenizer/tokenizer_config.json" }),
  "tokenizer/vocab.json": json({ of: "tokenizer/vocab.json" }),
  "tokenizer_2/special_tokens_map.json": json({ of: "tokenizer_2/special_tokens_map.json" }),
  "tokenizer_2/tokenizer.json": json({ model: 1 }),
  "tokenizer_2/tokenizer_config.json": json({ of: "tokenizer_2/tokenizer_config.json" }),
  "transformer/config.json": json({ _class_name: "FluxTransformer2DModel", in_channels: 128 }),
  [transformer]: transformerBytes,
  "vae/config.json": json({ latent_channels: 16 }),
  "vae/diffusion_pytorch_model.safetensors": weights(40_000, 13),
};

/** A repository with the needed files and others, as on the Hub. */
export const full: Files = {
  ...needed,
  ".gitattributes": "*.safetensors filter=lfs",
  "LICENSE.md": "License",
  "README.md": "Read me",
  "ae.safetensors": weights(10_000, 17),
  "flux1-depth-dev.safetensors": weights(10_000, 19),
  "text_encoder/model.fp16.safetensors": weights(9_000, 23),
  "text_encoder/pytorch_model.bin": weights(9_000, 29),
  "text_encoder_2/model-00003-of-00003.safetensors": weights(1_000, 31),
  "tokenizer_2/spiece.model": weights(9_000, 37),
  "transformer/onnx/model.onnx": weights(9_000, 41),
};

/** The files in a folder, each read through its link. */
export function readFolder(folder: string): Record<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  const files = names.filter((file) => !lstatSync(join(folder, file)).isDirectory());
  return Object.fromEntries(files.map((file) => [file, readFileSync(join(folder, file))]));
}

/** Files with all contents as buffers, by name. */
export const asBuffers = (files: Files): Record<string, Buffer> =>
  Object.fromEntries(
    Object.keys(files)
      .sort()
      .map((file) => [file, Buffer.from(files[file]!)]),
  );

/** Asserts that a repository's folder has exactly these files. */
export const assertComplete = ({ folder }: Repository, files: Files = needed): void =>
  assert.deepEqual(readFolder(folder), asBuffers(files));

/** Checks that an error is a ModelError whose message matches. */
export const modelError =
  (expected: RegExp) =>
  (error: unknown): true => {
    assert.ok(error instanceof ModelError, String(error));
    assert.match(error.message, expected);
    return true;
  };

// ---------------------------------------------------------------- the server and the cache

/** A Hub for all tests of a file, and an empty HF_HOME for each of them. */
export class HubFixture {
  hub!: HubServer;
  home = "";

  /** Registers the hooks. */
  constructor() {
    before(async () => {
      this.hub = await HubServer.start();
    });
    after(() => this.hub[Symbol.asyncDispose]());
    beforeEach(async () => {
      this.hub.forget();
      this.home = await mkdtemp(join(tmpdir(), "mflux-depth-hub-"));
    });
    afterEach(() => this.clearHome());
  }

  /** The repository's folder in the cache. */
  get root(): string {
    return join(this.home, "hub", `models--${repository.replace("/", "--")}`);
  }

  get environment(): NodeJS.ProcessEnv {
    return { HF_HOME: this.home, HF_ENDPOINT: this.hub.endpoint };
  }

  clearHome(): Promise<void> {
    return rm(this.home, { recursive: true, force: true });
  }

  obtain(source: Partial<ModelSource> = {}, options: Partial<ObtainOptions> = {}): Promise<Repository> {
    return obtainRepository(
      { model: repository, ...source },
      { kind: kindFor.generation, env: this.environment, patience: impatient, ...options },
    );
  }

  /** The path of a blob in the cache. */
  blob(etag: string): string {
    return join(this.root, "blobs", etag);
  }

  /** The path of a blob until it is complete. */
  partialBlob(etag: string): string {
    return `${this.blob(etag)}.incomplete`;
  }

  async partialBlobs(): Promise<string[]> {
    return (await readdir(join(this.root, "blobs"))).filter((file) => file.endsWith(".incomplete"));
  }

  /** Cuts the download of the transformer after each `bytes` bytes, `times` times. */
  cutTransformer(bytes: number, times: number): Fault {
    let left = times;
    return ({ cdn, path, headers }) => {
      if (!cdn || !path.endsWith(transformerEtag) || left-- <= 0) return undefined;
      const start = Number(/\d+/.exec(headers.range ?? "0"));
      // Bytes that were sent but not yet received would be lost.
      return {
        cutAfter: bytes,
        cutWhen: () => untilWritten(this.partialBlob(transformerEtag), start + bytes),
      };
    };
  }

  /** The ranges in which the transformer was requested. */
  transformerRanges(): (string | undefined)[] {
    return this.hub.asked
      .filter(({ cdn, path }) => cdn && path.endsWith(transformerEtag))
      .map(({ headers }) => headers.range);
  }
}
