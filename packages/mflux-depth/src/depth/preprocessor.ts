import { existsSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { readConfig } from "../files/json.js";
import { preprocessorFile } from "../files/repository-layout.js";

/** How pixels become a network's input: `(value − mean) / deviation` for each channel, of values in [0, 1]. */
export interface Normalization {
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Pillow's numbers of filters. */
const filters = { bilinear: 2, bicubic: 3 } as const;

/**
 * Reads a model's `preprocessor_config.json`; a missing file counts as empty. Each method takes a default, and throws a
 * {@link ModelError} that names the key if the value is invalid.
 */
export class PreprocessorReader {
  readonly #path: string;
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(folder: string) {
    this.#path = join(folder, preprocessorFile);
    this.#values = existsSync(this.#path) ? readConfig(folder, preprocessorFile) : {};
  }

  /** @throws {ModelError} always */
  wrong(key: string, expected: string): never {
    throw new ModelError(
      this.#path,
      `"${key}" is ${JSON.stringify(this.#values[key])}; expected ${expected}`,
    );
  }

  /** In pixels. */
  size(fallback: Size): Size {
    const { width, height } = (this.#values.size ?? fallback) as { width?: unknown; height?: unknown };
    return isCount(width) && isCount(height) ? { width, height } : this.wrong("size", "a width and a height");
  }

  count(key: string, fallback: number): number {
    const value = this.#values[key] ?? fallback;
    return isCount(value) ? value : this.wrong(key, "a positive integer");
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#values[key] ?? fallback;
    return typeof value === "boolean" ? value : this.wrong(key, "true or false");
  }

  /** Requires the filter that the model's photos are resized with; if the value is missing, it is assumed. */
  resampling(filter: keyof typeof filters): void {
    if ((this.#values.resample ?? filters[filter]) !== filters[filter])
      this.wrong("resample", `${filters[filter]} (${filter})`);
  }

  normalization(fallback: Normalization): Normalization {
    const scale = this.#values.rescale_factor ?? 1 / 255;
    if (typeof scale !== "number" || !(scale > 0)) return this.wrong("rescale_factor", "a positive number");
    // The factor applies to values up to 255.
    const unit = 255 * scale;
    return {
      mean: this.#threeNumbers("image_mean", fallback.mean).map((n) => n / unit),
      deviation: this.#threeNumbers("image_std", fallback.deviation).map((n) => n / unit),
    };
  }

  #threeNumbers(key: string, fallback: readonly number[]): readonly number[] {
    const value = this.#values[key] ?? fallback;
    return Array.isArray(value) && value.length === 3 && value.every((n) => typeof n === "number")
      ? value
      : this.wrong(key, "three numbers");
  }
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value > 0;
