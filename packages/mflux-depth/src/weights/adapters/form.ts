import type { AdapterModule, AdapterTensor } from "./adapter-file.js";
import type { AdapterRole } from "./keys.js";

/** How a layer's tensors make up an addition `D [rows, columns]` to its matrix. */
export interface AdapterForm {
  readonly kind: "low-rank" | "kronecker" | "hadamard" | "whole" | "bias";
  /** Null if only the bias changes, which does not say how many columns there are. */
  readonly columns: number | null;
  readonly rows: number;
  /** The denominator of alpha / rank; null where alpha has no effect. */
  readonly rank: number | null;
}

/** Something wrong with a key. */
export type AdapterProblem =
  /** It belongs to no layer of the model; `reason` says what it may be for. */
  | { readonly kind: "unknown"; readonly key: string; readonly reason: string | null }
  | {
      readonly kind: "misshapen";
      readonly key: string;
      readonly found: readonly number[];
      /** Null: any matrix. */
      readonly expected: readonly number[] | null;
    }
  /** Its counterpart is missing. */
  | { readonly kind: "unpaired"; readonly key: string; readonly missing: string };

/** The roles of each form, in the order of their test; all of them are needed. */
const forms: readonly {
  readonly kind: AdapterForm["kind"];
  readonly roles: readonly AdapterRole[];
}[] = [
  { kind: "low-rank", roles: ["down", "up"] },
  { kind: "hadamard", roles: ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"] },
  { kind: "kronecker", roles: ["lokr_w1", "lokr_w2"] },
  { kind: "kronecker", roles: ["lokr_w1_a", "lokr_w1_b", "lokr_w2"] },
  { kind: "kronecker", roles: ["lokr_w1", "lokr_w2_a", "lokr_w2_b"] },
  { kind: "kronecker", roles: ["lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"] },
  { kind: "whole", roles: ["diff"] },
];

/** Roles that may accompany a form. */
const companions: ReadonlySet<AdapterRole> = new Set(["alpha", "magnitude", "upBias", "diffBias"]);

/** Works out the form of a layer's addition from shapes alone; problems if they do not make one. */
export function formOf({ tensors }: AdapterModule): AdapterForm | AdapterProblem[] {
  const main = [...tensors.keys()].filter((role) => !companions.has(role));
  const form = forms.find(
    ({ roles }) => roles.length === main.length && roles.every((role) => tensors.has(role)),
  );
  if (!form) return main.length > 0 ? unpaired(tensors, main) : biasOnly(tensors);
  const flat = form.roles.map((role) => tensors.get(role)!).find(({ shape }) => !isMatrix(shape));
  if (flat) return [misshapen(flat, null)];
  const shape = (role: AdapterRole): Size => tensors.get(role)!.shape as Size;
  switch (form.kind) {
    case "low-rank":
      return lowRank(shape("down"), shape("up"), tensors);
    case "hadamard":
      return hadamard(tensors);
    case "kronecker":
      return kronecker(tensors);
    default:
      return { kind: "whole", rows: shape("diff")[0], columns: shape("diff")[1], rank: null };
  }
}

type Size = readonly [rows: number, columns: number];
type Tensors = AdapterModule["tensors"];

const isMatrix = (shape: readonly number[]): boolean => shape.length === 2 && shape.every((n) => n > 0);

const misshapen = ({ key, shape }: AdapterTensor, expected: readonly number[] | null): AdapterProblem => ({
  kind: "misshapen",
  key,
  found: shape,
  expected,
});

function lowRank(down: Size, up: Size, tensors: Tensors): AdapterForm | AdapterProblem[] {
  const [rank, columns] = down;
  if (up[1] !== rank) return [misshapen(tensors.get("up")!, [up[0], rank])];
  return { kind: "low-rank", rows: up[0], columns, rank };
}

function hadamard(tensors: Tensors): AdapterForm | AdapterProblem[] {
  const shape = (role: AdapterRole): Size => tensors.get(role)!.shape as Size;
  const [rows, rank] = shape("hada_w1_a");
  const columns = shape("hada_w1_b")[1];
  const second = shape("hada_w2_a")[1];
  const expected = new Map<AdapterRole, Size>([
    ["hada_w1_b", [rank, columns]],
    ["hada_w2_a", [rows, second]],
    ["hada_w2_b", [second, columns]],
  ]);
  const problems = [...expected]
    .filter(([role, size]) => shape(role).some((n, axis) => n !== size[axis]))
    .map(([role, size]) => misshapen(tensors.get(role)!, size));
  return problems.length > 0 ? problems : { kind: "hadamard", rows, columns, rank };
}

function kronecker(tensors: Tensors): AdapterForm | AdapterProblem[] {
  const sizes = ([1, 2] as const).map((n) => {
    const whole = tensors.get(`lokr_w${n}`);
    if (whole) return { size: whole.shape as Size, rank: null, problem: null };
    const [a, b] = [tensors.get(`lokr_w${n}_a`)!, tensors.get(`lokr_w${n}_b`)!];
    const rank = a.shape[1]!;
    const problem = b.shape[0] === rank ? null : misshapen(b, [rank, b.shape[1]!]);
    return { size: [a.shape[0]!, b.shape[1]!] as Size, rank, problem };
  });
  const problems = sizes.flatMap(({ problem }) => problem ?? []);
  if (problems.length > 0) return problems;
  const [left, right] = sizes as [(typeof sizes)[0], (typeof sizes)[0]];
  return {
    kind: "kronecker",
    rows: left.size[0] * right.size[0],
    columns: left.size[1] * right.size[1],
    // LyCORIS takes the rank of the right factor if both are products, and ignores alpha if none is.
    rank: right.rank ?? left.rank,
  };
}

function biasOnly(tensors: Tensors): AdapterForm | AdapterProblem[] {
  const bias = tensors.get("diffBias");
  const others = [...tensors].filter(([role]) => role !== "diffBias").map(([, tensor]) => tensor);
  if (!bias || others.length > 0)
    return others.map(({ key }) => ({ kind: "unpaired", key, missing: "the matrices it belongs to" }));
  return { kind: "bias", rows: bias.shape[0] ?? 0, columns: null, rank: null };
}

/** Explains what the forms closest to the given roles lack, or that the roles exclude each other. */
function unpaired(tensors: Tensors, main: readonly AdapterRole[]): AdapterProblem[] {
  const nearest = forms.find(({ roles }) => main.every((role) => roles.includes(role)));
  const lacking = nearest?.roles.filter((role) => !tensors.has(role)) ?? [];
  const missing =
    lacking.length > 0 ? lacking.map(nameOf).join(" and ") : "one kind of adapter for each layer";
  return main.map((role) => ({ kind: "unpaired", key: tensors.get(role)!.key, missing }));
}

const nameOf = (role: AdapterRole): string =>
  role === "down" ? "lora_A (lora_down)" : role === "up" ? "lora_B (lora_up)" : role;
