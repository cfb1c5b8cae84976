import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { FluxDepth } from "mflux-depth";
import { type Area, type FuzzCase, Violation } from "../area.js";
import { mutateBytes, mutateJson } from "../mutate.js";
import { packageFolder } from "../package-folder.js";
import type { Random } from "../random.js";
import { smallRequest } from "../small-request.js";

const tinyWorld = join(packageFolder, "models/tiny-world");

const files = (): string[] =>
  readdirSync(tinyWorld, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(tinyWorld, name)).isFile(),
  );

/** The header of a safetensors file, without its length. */
function headerOf(file: string): Buffer {
  const bytes = readFileSync(join(tinyWorld, file));
  return bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0)));
}

/** The file of a case: its bytes, or a header before the original's data. */
function contentOf({ input, parameters: { file, form, length } }: FuzzCase): Uint8Array {
  if (form !== "header") return input;
  const original = readFileSync(join(tinyWorld, file!));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length === undefined ? BigInt(input.length) : BigInt(length));
  return Buffer.concat([size, input, original.subarray(8 + Number(original.readBigUInt64LE(0)))]);
}

function makeCase(names: readonly string[], random: Random): FuzzCase {
  const file = random.pick(names);
  const original = file.endsWith(".safetensors") ? headerOf(file) : readFileSync(join(tinyWorld, file));
  const damaged =
    file.endsWith(".txt") || random.oneIn(3)
      ? mutateBytes(original, random)
      : Buffer.from(JSON.stringify(mutateJson(JSON.parse(original.toString()), random)));
  if (!file.endsWith(".safetensors")) return { input: damaged, parameters: { file, form: "file" } };
  const lengths = [0n, 1n, BigInt(damaged.length) + 8n, 2n ** 31n, 2n ** 53n, 2n ** 64n - 1n];
  return {
    input: damaged,
    parameters: {
      file,
      form: "header",
      ...(random.oneIn(12) && { length: `${random.pick(lengths)}` }),
    },
  };
}

/** Configs, tokenizers and headers of weights of a model folder. */
export const models: Area = {
  limits: { seconds: 30, bytes: 2e9 },
  async prepare() {
    const names = files().filter((name) => /\.(json|txt|safetensors)$/.test(name));
    return (random) => makeCase(names, random);
  },
  async open(folder) {
    const names = files();
    const image = { data: new Uint8Array(64 * 64 * 3).fill(99), width: 64, height: 64, channels: 3 } as const;
    return async (fuzzCase) => {
      const model = join(folder, "model");
      rmSync(model, { recursive: true, force: true });
      for (const name of names) {
        mkdirSync(dirname(join(model, name)), { recursive: true });
        if (name === fuzzCase.parameters.file) writeFileSync(join(model, name), contentOf(fuzzCase));
        else symlinkSync(join(tinyWorld, name), join(model, name));
      }
      using flux = await FluxDepth.load({ model, quantize: "none" });
      // A photo is needed to read the depth estimator.
      const estimates = fuzzCase.parameters.file!.startsWith("depth_pro/");
      const { depthImage, ...rest } = smallRequest;
      const { latents } = await flux.generate({ ...rest, ...(estimates ? { image } : { depthImage }) });
      if (!latents.data.every(Number.isFinite)) throw new Violation("the latents are not finite");
    };
  },
};
