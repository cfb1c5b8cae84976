import { ModelError } from "../../errors.js";
import { type AdapterFile, type AdapterModule, adapterDtypes } from "./adapter-file.js";
import { type AdapterForm, type AdapterProblem, formOf } from "./form.js";
import { foreignKind, replacedName, reshapedModule } from "./keys.js";
import { type AdapterNames, type AdapterTarget, type Replacement, rowsOf } from "./targets.js";

/** A layer of an adapter file and the layers of the model that it changes. */
export interface MatchedLayer {
  readonly module: AdapterModule;
  readonly form: AdapterForm;
  readonly target: AdapterTarget;
}

/** A tensor of an adapter file that replaces a parameter. */
export interface MatchedReplacement extends Replacement {
  readonly key: string;
}

export interface AdapterMatch {
  readonly layers: readonly MatchedLayer[];
  readonly replacements: readonly MatchedReplacement[];
  readonly problems: readonly AdapterProblem[];
}

/** Finds the layers that an adapter changes in a model. Every key is used, or part of a problem. */
export function matchAdapter({ modules, strays, entries }: AdapterFile, names: AdapterNames): AdapterMatch {
  const layers: MatchedLayer[] = [];
  const replacements: MatchedReplacement[] = [];
  const problems: AdapterProblem[] = [];
  for (const key of strays) {
    // The shapes of the layer's tensors already say this.
    const reshaped = reshapedModule(key);
    if (reshaped !== null && modules.some(({ name }) => name === reshaped)) continue;
    const { dtype, shape: found } = entries.get(key)!;
    const replacement = adapterDtypes.has(dtype) ? replacementOf(key, names) : undefined;
    if (!replacement)
      problems.push({ kind: "unknown", key, reason: foreignKind(key) ?? names.otherModel(key) });
    else if (sameShape(found, replacement.shape)) replacements.push({ ...replacement, key });
    else problems.push({ kind: "misshapen", key, found, expected: replacement.shape });
  }
  for (const module of modules) {
    const keys = Array.from(module.tensors.values(), ({ key }) => key);
    const target = names.find(module.name);
    if (!target) {
      const reason = names.otherModel(module.name);
      problems.push(...keys.map((key) => ({ kind: "unknown", key, reason }) as const));
      continue;
    }
    const form = formOf(module);
    const found = Array.isArray(form) ? form : misfits(module, form, target);
    problems.push(...found);
    if (!Array.isArray(form) && found.length === 0) layers.push({ module, form, target });
  }
  return { layers, replacements, problems };
}

/** The parameters that a key replaces: those of a layer, or others that only the family knows. */
function replacementOf(key: string, names: AdapterNames): Replacement | undefined {
  const name = replacedName(key);
  const isBias = name?.endsWith(".bias") ?? false;
  const target = name === null ? undefined : names.find(isBias ? name.slice(0, -".bias".length) : name);
  if (!target) return names.replacement(key);
  const { component, columns, swapsHalves } = target;
  const parameter = isBias ? "bias" : "weight";
  return {
    component,
    parts: target.parts.map(({ path, rows }) => ({ path: `${path}.${parameter}`, rows })),
    shape: isBias ? [rowsOf(target)] : [rowsOf(target), columns],
    swapsHalves,
  };
}

/** Shapes that do not fit the layers of the model. */
function misfits({ tensors }: AdapterModule, form: AdapterForm, target: AdapterTarget): AdapterProblem[] {
  const rows = rowsOf(target);
  const { columns, earlierColumns } = target;
  const problems: AdapterProblem[] = [];
  const expect = (role: Parameters<typeof tensors.get>[0], expected: readonly number[]): void => {
    const tensor = tensors.get(role);
    if (tensor && !sameShape(tensor.shape, expected))
      problems.push({ kind: "misshapen", key: tensor.key, found: tensor.shape, expected });
  };
  const widened = form.kind === "low-rank" && form.columns === earlierColumns;
  if (form.kind === "low-rank") {
    if (!widened) expect("down", [form.rank!, columns]);
    expect("up", [rows, form.rank!]);
  } else if (form.kind !== "bias" && (form.rows !== rows || form.columns !== columns)) {
    const [first] = tensors.values();
    problems.push({
      kind: "misshapen",
      key: first!.key,
      found: [form.rows, form.columns!],
      expected: [rows, columns],
    });
  }
  for (const role of ["upBias", "diffBias"] as const) expect(role, [rows]);
  const alpha = tensors.get("alpha");
  if (alpha && alpha.shape.reduce((product, n) => product * n, 1) !== 1) expect("alpha", []);
  const magnitude = tensors.get("magnitude");
  if (magnitude && gainAxis(magnitude.shape, { rows, columns: form.columns ?? columns }) === null)
    expect("magnitude", [rows, 1]);
  return problems;
}

/**
 * Whether DoRA's magnitudes are those of rows, `[out]` or `[out, 1]`, or of columns, `[1, in]`; null if they fit
 * neither.
 */
export function gainAxis(
  shape: readonly number[],
  { rows, columns }: { rows: number; columns: number },
): "rows" | "columns" | null {
  if (sameShape(shape, [rows]) || sameShape(shape, [rows, 1])) return "rows";
  return sameShape(shape, [1, columns]) ? "columns" : null;
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((n, axis) => n === b[axis]);

/** How many keys of one kind a message lists. */
const shown = 4;

/** Describes all problems in one sentence without a full stop. */
export function describeProblems(problems: readonly AdapterProblem[]): string {
  const of = <Kind extends AdapterProblem["kind"]>(kind: Kind): Extract<AdapterProblem, { kind: Kind }>[] =>
    problems.filter((one): one is Extract<AdapterProblem, { kind: Kind }> => one.kind === kind);
  const unknown = of("unknown");
  const reasons = [...new Set(unknown.map(({ reason }) => reason))];
  return [
    ...reasons.map((reason) => {
      const keys = unknown.filter((one) => one.reason === reason).map(({ key }) => key);
      const purpose = reason === null ? "" : `, but may be for ${reason}`;
      return `${count(keys.length, "key")} ${keys.length === 1 ? "belongs" : "belong"} to no layer of this model${purpose}: ${listed(keys)}`;
    }),
    ...lines(
      of("misshapen"),
      "has another shape than its layer",
      "have other shapes than their layers",
      ({ key, found, expected }) =>
        `${key} is [${found.join(", ")}], expected ${expected === null ? "a matrix" : `[${expected.join(", ")}]`}`,
    ),
    ...lines(
      of("unpaired"),
      "has no counterpart",
      "have no counterparts",
      ({ key, missing }) => `${key} lacks ${missing}`,
    ),
  ].join("; ");
}

function lines<Problem>(
  problems: readonly Problem[],
  one: string,
  many: string,
  describe: (problem: Problem) => string,
): string[] {
  if (problems.length === 0) return [];
  return [
    `${count(problems.length, "key")} ${problems.length === 1 ? one : many}: ${listed(problems.map(describe))}`,
  ];
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

const listed = (texts: readonly string[]): string =>
  texts.length > shown
    ? `${texts.slice(0, shown).join(", ")} and ${texts.length - shown} more`
    : texts.join(", ");

/**
 * Requires that every key of an adapter is used.
 * @param lenient uses what fits, as long as there is anything.
 * @throws {ModelError} naming the keys that are not used, with all of them in its details.
 */
export function requireMatch(
  { path }: Pick<AdapterFile, "path">,
  { layers, replacements, problems }: AdapterMatch,
  lenient: boolean,
): void {
  const fits = layers.length + replacements.length > 0;
  if (problems.length === 0 || (lenient && fits)) return;
  const others = new Set(problems.map((one) => (one.kind === "unknown" ? one.reason : null)));
  const [other] = others;
  if (!fits && others.size === 1 && typeof other === "string")
    throw new ModelError(path, `this adapter is for ${other}, and fits no layer of this model`, {
      details: { problems },
    });
  throw new ModelError(path, describeProblems(problems), {
    details: {
      problems,
      ...(fits && {
        remedies: [{ kind: "set-option", option: "loraLenient", value: true, purpose: "use the rest" }],
      }),
    },
  });
}
