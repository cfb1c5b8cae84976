import { ModelError } from "../errors.js";

/**
 * Reads values of a model's `config.json`, with the defaults that diffusers or transformers have for what is left out.
 * Every method throws a {@link ModelError} that names the key when the value cannot be.
 */
export class ConfigReader {
  private readonly values: Readonly<Record<string, unknown>>;

  /**
   * @param model how the model is called in messages, "a FLUX transformer"
   * @param source the file, for messages
   */
  constructor(
    json: unknown,
    private readonly model: string,
    private readonly source: string,
  ) {
    if (typeof json !== "object" || json === null || Array.isArray(json))
      this.fail(`it is not a JSON object; the config.json of ${model} is needed`);
    this.values = json as Record<string, unknown>;
  }

  fail(reason: string): never {
    throw new ModelError(this.source, reason);
  }

  private wrong(key: string, expected: string): never {
    return this.fail(`"${key}" is ${JSON.stringify(this.values[key])}; ${this.model} needs ${expected}`);
  }

  /** @throws {ModelError} when `_class_name` is there and another. */
  className(expected: string): void {
    const found = this.values._class_name ?? expected;
    if (found !== expected)
      this.fail(`it is the config of ${JSON.stringify(found)}; ${this.model} ("${expected}") is needed`);
  }

  /** A positive integer; a fallback of null makes null possible. */
  count<Fallback extends number | null>(key: string, fallback: Fallback): number | Fallback {
    const value = this.values[key] ?? null;
    if (value === null) return fallback;
    return isCount(value) ? value : this.wrong(key, "a positive integer");
  }

  counts(key: string, fallback: readonly number[]): number[] {
    const value = this.values[key] ?? fallback;
    return Array.isArray(value) && value.length > 0 && value.every(isCount)
      ? [...value]
      : this.wrong(key, "a list of positive integers");
  }

  number(key: string, fallback: number): number {
    const value = this.values[key] ?? fallback;
    return typeof value === "number" && Number.isFinite(value) ? value : this.wrong(key, "a number");
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values[key] ?? fallback;
    return typeof value === "boolean" ? value : this.wrong(key, "true or false");
  }

  /** One of the words that this library knows. */
  oneOf<Word extends string>(key: string, known: readonly Word[], fallback: Word): Word {
    const value = this.values[key] ?? fallback;
    return (
      known.find((word) => word === value) ?? this.wrong(key, known.map((word) => `"${word}"`).join(" or "))
    );
  }

  /** @throws {ModelError} when the value is there and not the one this library computes with. */
  only(key: string, expected: unknown): void {
    const value = this.values[key] ?? expected;
    if (JSON.stringify(value) !== JSON.stringify(expected)) this.wrong(key, JSON.stringify(expected));
  }

  /** As {@link only} for each item of a list of `length`. */
  onlyItems(key: string, expected: string, length: number): void {
    const value = this.values[key] ?? new Array(length).fill(expected);
    if (!Array.isArray(value) || value.length !== length || value.some((item) => item !== expected))
      this.wrong(key, `"${expected}" ${length} times`);
  }
}

// Sizes beyond this are no model's, and products of them would not be exact.
const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 24;
