import { ModelError } from "../errors.js";

/**
 * Reads values of a model's `config.json`. The caller passes the defaults of diffusers or transformers for missing ones.
 * Every method throws a {@link ModelError} that names the key when the value is invalid.
 */
export class ConfigReader {
  private readonly values: Readonly<Record<string, unknown>>;

  /**
   * @param model the model's name in messages: "a FLUX transformer"
   * @param source the file, for messages
   */
  constructor(
    json: unknown,
    private readonly model: string,
    private readonly source: string,
  ) {
    if (typeof json !== "object" || json === null || Array.isArray(json))
      this.fail(`it is not a JSON object; expected the config.json of ${model}`);
    this.values = json as Record<string, unknown>;
  }

  fail(reason: string): never {
    throw new ModelError(this.source, reason);
  }

  private wrong(key: string, expected: string): never {
    return this.fail(`"${key}" is ${JSON.stringify(this.values[key])}; ${this.model} needs ${expected}`);
  }

  /** @throws {ModelError} if `_class_name` is another. */
  className(expected: string): void {
    const found = this.values._class_name ?? expected;
    if (found !== expected)
      this.fail(`it is the config of ${JSON.stringify(found)}; expected ${this.model} ("${expected}")`);
  }

  /** @throws {ModelError} if `model_type` is another or missing. */
  modelType(expected: string): void {
    const found = this.values.model_type;
    if (found !== expected)
      this.fail(
        `it is the config of ${found === undefined ? "another kind of model" : JSON.stringify(found)}; expected ${this.model} ("${expected}")`,
      );
  }

  /** A positive integer. With a fallback of null, the value may be null. */
  count<Fallback extends number | null>(key: string, fallback: Fallback): number | Fallback {
    const value = this.values[key] ?? null;
    if (value === null) return fallback;
    return isCount(value) ? value : this.wrong(key, "a positive integer");
  }

  /** A number of layers. No model has 1024, and millions would take minutes to build before any weight is read. */
  layers(key: string, fallback: number): number {
    const value = this.count(key, fallback);
    return value < 1024 ? value : this.wrong(key, "a number of layers from 1 to 1023");
  }

  counts(key: string, fallback: readonly number[]): number[] {
    const value = this.values[key] ?? fallback;
    return Array.isArray(value) && value.length > 0 && value.every(isCount)
      ? [...value]
      : this.wrong(key, "a list of positive integers");
  }

  /** @param expected describes the valid numbers in messages: "ratios" */
  numbers(
    key: string,
    fallback: readonly number[],
    expected: string,
    isValid: (n: number) => boolean,
  ): number[] {
    const value = this.values[key] ?? fallback;
    return Array.isArray(value) && value.length > 0 && value.every((n) => typeof n === "number" && isValid(n))
      ? [...value]
      : this.wrong(key, `a list of ${expected}`);
  }

  /** A whole number from 0 to 1023. */
  smallNumber(key: string, fallback: number): number {
    const value = this.number(key, fallback);
    return Number.isInteger(value) && value >= 0 && value < 1024
      ? value
      : this.wrong(key, "a whole number from 0 to 1023");
  }

  number(key: string, fallback: number): number {
    const value = this.values[key] ?? fallback;
    return typeof value === "number" && Number.isFinite(value) ? value : this.wrong(key, "a number");
  }

  /** A number from `min` to `max`. */
  numberWithin(key: string, fallback: number, [min, max]: readonly [min: number, max: number]): number {
    const value = this.number(key, fallback);
    return value >= min && value <= max ? value : this.wrong(key, `a number from ${min} to ${max}`);
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values[key] ?? fallback;
    return typeof value === "boolean" ? value : this.wrong(key, "true or false");
  }

  /** One of the known words. */
  oneOf<Word extends string>(key: string, known: readonly Word[], fallback: Word): Word {
    const value = this.values[key] ?? fallback;
    return (
      known.find((word) => word === value) ?? this.wrong(key, known.map((word) => `"${word}"`).join(" or "))
    );
  }

  /** @throws {ModelError} if the value differs from the only supported one. */
  only(key: string, expected: unknown): void {
    const value = this.values[key] ?? expected;
    if (JSON.stringify(value) !== JSON.stringify(expected)) this.wrong(key, JSON.stringify(expected));
  }

  /** Like {@link only}, for each item of a list with `length` items. */
  onlyItems(key: string, expected: string, length: number): void {
    const value = this.values[key] ?? new Array(length).fill(expected);
    if (!Array.isArray(value) || value.length !== length || value.some((item) => item !== expected))
      this.wrong(key, `"${expected}" ${length} times`);
  }
}

// No model has larger sizes, whose products would be inexact.
const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 24;
