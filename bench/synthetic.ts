import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

/*
 * `node bench/dist/synthetic.js --path DIR [--double N] [--single N]` writes a model in the layout of FLUX.1-Depth-dev:
 * its configs and sizes except the number of transformer blocks, random bfloat16 weights in shards, and the tokenizers
 * of the bundled model. It is written piece by piece, and never held in memory completely.
 */

/** Names and shapes in the order of the file. */
type Tensors = readonly (readonly [name: string, shape: readonly number[]])[];

const modelsFolder = join(dirname(fileURLToPath(import.meta.resolve("mflux-depth"))), "..", "..", "models");

const times = (count: number, make: (index: number) => Tensors): Tensors =>
  Array.from({ length: count }, (_, i) => make(i)).flat();

/** A layer's weight and, unless `bias` is false, its bias with a value for each output. */
const layer = (name: string, shape: readonly number[], bias = true): Tensors => [
  [`${name}.weight`, shape],
  ...(bias ? [[`${name}.bias`, [shape[0]!]] as const] : []),
];

// ---------------------------------------------------------------- the components

type Config = Record<string, number> & { block_out_channels: number[] };

function transformerTensors(config: Config): Tensors {
  const head = config.attention_head_dim!;
  const dims = head * config.num_attention_heads!;
  const embedder = (name: string, inputs: number): Tensors => [
    ...layer(`time_text_embed.${name}.linear_1`, [dims, inputs]),
    ...layer(`time_text_embed.${name}.linear_2`, [dims, dims]),
  ];
  const norms = (path: string, names: readonly string[]): Tensors =>
    names.flatMap((name) => layer(`${path}.${name}`, [head], false));
  const squares = (path: string, names: readonly string[]): Tensors =>
    names.flatMap((name) => layer(`${path}.${name}`, [dims, dims]));
  return [
    ...layer("x_embedder", [dims, config.in_channels!]),
    ...layer("context_embedder", [dims, config.joint_attention_dim!]),
    ...embedder("timestep_embedder", 256),
    ...embedder("guidance_embedder", 256),
    ...embedder("text_embedder", config.pooled_projection_dim!),
    ...times(config.num_layers!, (i) => {
      const block = `transformer_blocks.${i}`;
      const joined = ["q_proj", "k_proj", "v_proj"].map((name) => `add_${name}`);
      return [
        ...layer(`${block}.norm1.linear`, [6 * dims, dims]),
        ...layer(`${block}.norm1_context.linear`, [6 * dims, dims]),
        ...squares(`${block}.attn`, ["to_q", "to_k", "to_v", ...joined, "to_out.0", "to_add_out"]),
        ...norms(`${block}.attn`, ["norm_q", "norm_k", "norm_added_q", "norm_added_k"]),
        ...["ff", "ff_context"].flatMap((ff) => [
          ...layer(`${block}.${ff}.net.0.proj`, [4 * dims, dims]),
          ...layer(`${block}.${ff}.net.2`, [dims, 4 * dims]),
        ]),
      ];
    }),
    ...times(config.num_single_layers!, (i) => {
      const block = `single_transformer_blocks.${i}`;
      return [
        ...layer(`${block}.norm.linear`, [3 * dims, dims]),
        ...layer(`${block}.proj_mlp`, [4 * dims, dims]),
        ...layer(`${block}.proj_out`, [dims, 5 * dims]),
        ...squares(`${block}.attn`, ["to_q", "to_k", "to_v"]),
        ...norms(`${block}.attn`, ["norm_q", "norm_k"]),
      ];
    }),
    ...layer("norm_out.linear", [2 * dims, dims]),
    ...layer("proj_out", [config.out_channels!, dims]),
  ];
}

function t5Tensors(config: Config): Tensors {
  const [dims, inner, wide] = [config.d_model!, config.num_heads! * config.d_kv!, config.d_ff!];
  const bare = (name: string, shape: readonly number[]): Tensors => layer(name, shape, false);
  return [
    ...bare("shared", [config.vocab_size!, dims]),
    ...times(config.num_layers!, (i) => {
      const [attention, feed] = [0, 1].map((n) => `encoder.block.${i}.layer.${n}`) as [string, string];
      return [
        ...["q", "k", "v"].flatMap((name) => bare(`${attention}.SelfAttention.${name}`, [inner, dims])),
        ...bare(`${attention}.SelfAttention.o`, [dims, inner]),
        ...(i === 0
          ? bare(`${attention}.SelfAttention.relative_attention_bias`, [
              config.relative_attention_num_buckets!,
              config.num_heads!,
            ])
          : []),
        ...bare(`${attention}.layer_norm`, [dims]),
        ...["wi_0", "wi_1"].flatMap((name) => bare(`${feed}.DenseReluDense.${name}`, [wide, dims])),
        ...bare(`${feed}.DenseReluDense.wo`, [dims, wide]),
        ...bare(`${feed}.layer_norm`, [dims]),
      ];
    }),
    ...bare("encoder.final_layer_norm", [dims]),
  ];
}

function clipTensors(config: Config): Tensors {
  const [dims, wide] = [config.hidden_size!, config.intermediate_size!];
  return [
    ["text_model.embeddings.token_embedding.weight", [config.vocab_size!, dims]],
    ["text_model.embeddings.position_embedding.weight", [config.max_position_embeddings!, dims]],
    ...times(config.num_hidden_layers!, (i) => {
      const block = `text_model.encoder.layers.${i}`;
      return [
        ...["q", "k", "v", "out"].flatMap((name) => layer(`${block}.self_attn.${name}_proj`, [dims, dims])),
        ...layer(`${block}.layer_norm1`, [dims]),
        ...layer(`${block}.layer_norm2`, [dims]),
        ...layer(`${block}.mlp.fc1`, [wide, dims]),
        ...layer(`${block}.mlp.fc2`, [dims, wide]),
      ];
    }),
    ...layer("text_model.final_layer_norm", [dims]),
  ];
}

function vaeTensors(config: Config): Tensors {
  const channels = config.block_out_channels;
  const [latent, colours, perBlock] = [
    config.latent_channels!,
    config.in_channels!,
    config.layers_per_block!,
  ];
  const conv = (name: string, inputs: number, outputs: number, size = 3): Tensors =>
    layer(name, [outputs, inputs, size, size]);
  const resnet = (name: string, inputs: number, outputs: number): Tensors => [
    ...layer(`${name}.norm1`, [inputs]),
    ...conv(`${name}.conv1`, inputs, outputs),
    ...layer(`${name}.norm2`, [outputs]),
    ...conv(`${name}.conv2`, outputs, outputs),
    ...(inputs === outputs ? [] : conv(`${name}.conv_shortcut`, inputs, outputs, 1)),
  ];
  const middle = (name: string, dims: number): Tensors => [
    ...layer(`${name}.attentions.0.group_norm`, [dims]),
    ...["to_q", "to_k", "to_v", "to_out.0"].flatMap((part) =>
      layer(`${name}.attentions.0.${part}`, [dims, dims]),
    ),
    ...[0, 1].flatMap((i) => resnet(`${name}.resnets.${i}`, dims, dims)),
  ];
  const half = (
    name: string,
    levels: readonly number[],
    count: number,
    inputs: number,
    outputs: number,
    [blocks, between]: readonly [string, string],
  ): Tensors => [
    ...conv(`${name}.conv_in`, inputs, levels[0]!),
    ...levels.flatMap((out, level) => [
      ...times(count, (i) =>
        resnet(`${name}.${blocks}.${level}.resnets.${i}`, i === 0 ? (levels[level - 1] ?? out) : out, out),
      ),
      ...(level < levels.length - 1 ? conv(`${name}.${blocks}.${level}.${between}.0.conv`, out, out) : []),
    ]),
    ...middle(`${name}.mid_block`, channels.at(-1)!),
    ...layer(`${name}.conv_norm_out`, [levels.at(-1)!]),
    ...conv(`${name}.conv_out`, levels.at(-1)!, outputs),
  ];
  return [
    ...half("encoder", channels, perBlock, colours, 2 * latent, ["down_blocks", "downsamplers"]),
    ...half("decoder", channels.toReversed(), perBlock + 1, latent, colours, ["up_blocks", "upsamplers"]),
  ];
}

const components: Readonly<Record<string, { stem: string; tensors: (config: Config) => Tensors }>> = {
  text_encoder: { stem: "model", tensors: clipTensors },
  text_encoder_2: { stem: "model", tensors: t5Tensors },
  transformer: { stem: "diffusion_pytorch_model", tensors: transformerTensors },
  vae: { stem: "diffusion_pytorch_model", tensors: vaeTensors },
};

// ---------------------------------------------------------------- files

const elements = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Random bfloat16 values with magnitudes of 0.008 to 0.03. */
function noiseBlock(bytes: number): Buffer {
  const block = Buffer.alloc(bytes);
  let state = 1;
  for (let i = 0; i < bytes; i += 2) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    block[i] = state >>> 24;
    block[i + 1] = (state >>> 16) & 1 ? 0x3c : 0xbc;
  }
  return block;
}

async function writeShard(path: string, tensors: Tensors, noise: Buffer): Promise<void> {
  const header: Record<string, object> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const [name, shape] of tensors) {
    const start = end;
    end += 2 * elements(shape);
    header[name] = { dtype: "BF16", shape, data_offsets: [start, end] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(path, "w");
  try {
    await file.writev([length, padded]);
    for (let left = end; left > 0; left -= noise.length)
      await file.write(noise, 0, Math.min(left, noise.length));
  } finally {
    await file.close();
  }
}

/** One file, or shards with an index if it would exceed `shardBytes`. @returns the bytes of tensors. */
async function writeWeights(
  folder: string,
  stem: string,
  tensors: Tensors,
  shardBytes: number,
  noise: Buffer,
): Promise<number> {
  const shards: (readonly [string, readonly number[]])[][] = [[]];
  let [filled, total] = [0, 0];
  for (const tensor of tensors) {
    const bytes = 2 * elements(tensor[1]);
    if (filled > 0 && filled + bytes > shardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
    total += bytes;
  }
  const number = (n: number): string => String(n).padStart(5, "0");
  const nameOf = (i: number): string =>
    shards.length === 1
      ? `${stem}.safetensors`
      : `${stem}-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  for (const [i, shard] of shards.entries()) await writeShard(join(folder, nameOf(i)), shard, noise);
  if (shards.length > 1) {
    const map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(([name]) => [name, nameOf(i)])));
    const index = { metadata: { total_size: total }, weight_map: map };
    writeFileSync(join(folder, `${stem}.safetensors.index.json`), JSON.stringify(index));
  }
  return total;
}

interface SyntheticOptions {
  readonly path: string;
  /** Numbers of transformer blocks. */
  readonly double: number;
  readonly single: number;
  /** Largest size of a file's tensors. */
  readonly shardBytes?: number;
}

/** Writes the model. @returns the bytes of weights of each component. */
export async function writeSynthetic(options: SyntheticOptions): Promise<Record<string, number>> {
  const { path, double, single, shardBytes = 10e9 } = options;
  const source = join(modelsFolder, "flux1-depth-dev");
  const noise = noiseBlock(16 << 20);
  cpSync(source, path, { recursive: true });
  for (const tokenizer of ["tokenizer", "tokenizer_2"])
    cpSync(join(modelsFolder, "tiny-world", tokenizer), join(path, tokenizer), { recursive: true });
  const written: Record<string, number> = {};
  for (const [component, { stem, tensors }] of Object.entries(components)) {
    const folder = join(path, component);
    mkdirSync(folder, { recursive: true });
    const file = join(folder, "config.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as Config;
    if (component === "transformer") {
      Object.assign(config, { num_layers: double, num_single_layers: single });
      writeFileSync(file, JSON.stringify(config, null, 2));
    }
    written[component] = await writeWeights(folder, stem, tensors(config), shardBytes, noise);
  }
  return written;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values } = parseArgs({
    options: {
      path: { type: "string" },
      double: { type: "string", default: "19" },
      single: { type: "string", default: "38" },
      "shard-gb": { type: "string", default: "10" },
    },
  });
  const { path, double, single } = values;
  if (path === undefined) {
    console.error("usage: node bench/dist/synthetic.js --path DIR [--double N] [--single N] [--shard-gb N]");
    process.exit(2);
  }
  mkdirSync(path, { recursive: true });
  if (readdirSync(path).length > 0) {
    console.error(`${path} is not empty. Name a new or empty folder.`);
    process.exit(1);
  }
  const written = await writeSynthetic({
    path,
    double: Number(double),
    single: Number(single),
    shardBytes: Number(values["shard-gb"]) * 1e9,
  });
  for (const [component, bytes] of Object.entries(written))
    console.log(`${component.padEnd(14)} ${(bytes / 1e9).toFixed(2)} GB`);
}
