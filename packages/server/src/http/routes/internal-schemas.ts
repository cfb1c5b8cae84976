/*
 * The schemas of what workers on other machines send.
 */
type Schema = Readonly<Record<string, unknown>>;

const text = { type: "string", maxLength: 10_000 } as const;
const count = { type: "integer", minimum: 0 } as const;
const number = { type: "number" } as const;
const hash = { type: "string", pattern: "^[0-9a-f]{64}$" } as const;
const anything = { type: "object", additionalProperties: true } as const;
const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: "null" }] });

/** An object with exactly these fields; those whose names end in "?" are optional. */
function object(fields: Readonly<Record<string, Schema>>): Schema {
  const names = Object.keys(fields);
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name.replace("?", ""), fields[name]])),
    required: names.filter((name) => !name.endsWith("?")),
    additionalProperties: false,
  };
}

export const hashParams: Schema = {
  type: "object",
  properties: { id: text, attempt: { type: "integer", minimum: 1 }, sha256: hash },
};

const artifact = (names: string): Schema =>
  object({
    name: { type: "string", pattern: names },
    sha256: hash,
    mime: { enum: ["image/png", "application/octet-stream"] },
    width: count,
    height: count,
    bytes: count,
    seed: nullable(count),
    score: nullable(object({ rmse: number, correlation: number, abs_rel: number, edge_f1: number })),
  });

const type = (name: string): Schema => ({ const: name });

const report: Schema = {
  oneOf: [
    ...["load", "stage", "step"].map((name) => object({ type: type(name), data: anything })),
    object({
      ...{ type: type("preview"), step: count, mime: { enum: ["image/png", "image/jpeg", "image/webp"] } },
      ...{ width: count, height: count, base64: { type: "string" } },
    }),
    object({ type: type("resumed"), step: count }),
    object({ type: type("began_anew") }),
    object({ type: type("warning"), message: text }),
    object({ type: type("model_loaded"), seconds: number }),
  ],
};

const outcome: Schema = {
  oneOf: [
    object({
      state: type("succeeded"),
      step: count,
      artifacts: { type: "array", items: artifact("^(image-[1-9]\\d*|depth|depth-values)$") },
      "duration?": object({ workload: text, stepSeconds: number, otherSeconds: number }),
    }),
    object({
      state: type("failed"),
      error: object({ message: text, type: text, param: nullable(text), code: text }),
    }),
    ...["cancelled", "crashed", "interrupted"].map((state) => object({ state: type(state) })),
  ],
};

export const bodies = {
  none: object({}),
  heartbeat: object({
    version: text,
    device: text,
    memory_bytes: count,
    model: nullable(text),
    models: { type: "array", items: text },
    attempt: nullable(object({ job: text, attempt: count })),
    verdicts: { type: "object", additionalProperties: nullable(text) },
  }),
  reports: object({ first: count, reports: { type: "array", items: report } }),
  candidate: object({ candidate: artifact("^candidate-[1-9]\\d*$"), step: count }),
  end: object({ outcome }),
} as const;
