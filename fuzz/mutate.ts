/* Damages bytes and JSON in ways that reveal bugs in parsers. */
import type { Random } from "./random.js";

/** Numbers at the limits of formats. */
const edges = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

type ByteMutation = (bytes: Buffer, random: Random) => Buffer;

const byteMutations: readonly ByteMutation[] = [
  function flipBit(bytes, random) {
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  function overwriteByte(bytes, random) {
    bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  function overwriteNumber(bytes, random) {
    const width = random.pick([1, 2, 4]);
    if (bytes.length < width) return bytes;
    const value = random.pick(edges) % 2 ** (8 * width);
    const at = random.below(bytes.length - width + 1);
    if (random.oneIn(2)) bytes.writeUIntBE(value, at, width);
    else bytes.writeUIntLE(value, at, width);
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length)),
  function remove(bytes, random) {
    const at = random.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]);
  },
  function insert(bytes, random) {
    const at = random.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(16)), bytes.subarray(at)]);
  },
  function repeat(bytes, random) {
    const at = random.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at + 1 + random.below(32)), bytes.subarray(at)]);
  },
  function zero(bytes, random) {
    const at = random.below(bytes.length);
    return bytes.fill(0, at, Math.min(bytes.length, at + 1 + random.below(64)));
  },
];

/** Damages bytes in one to four ways, most of them near the beginning, where headers are. */
export function mutateBytes(original: Uint8Array, random: Random): Uint8Array {
  let bytes: Buffer = Buffer.from(original);
  for (let left = 1 + random.below(4); left > 0 && bytes.length > 0; left--) {
    const mutation = random.pick(byteMutations);
    const head = random.oneIn(3) ? bytes.length : Math.min(bytes.length, 256);
    const changed = mutation(Buffer.from(bytes.subarray(0, head)), random);
    bytes = Buffer.concat([changed, bytes.subarray(head)]);
  }
  return bytes;
}

/** Values that a field of JSON should not have. */
const strangeValues: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1,
  3,
  0.5,
  2 ** 31,
  2 ** 53,
  -(2 ** 53),
  1e308,
  "",
  "text",
  "../../../etc/passwd",
  "\u001b[31m\u0000",
  "x".repeat(10_000),
  [],
  [[]],
  {},
];

/** Changes one to three fields of a JSON value at any depth; the value may contain bytes. */
export function mutateJson(original: unknown, random: Random): unknown {
  const root = { value: structuredClone(original) };
  for (let left = 1 + random.below(3); left > 0; left--) mutateField(root, "value", random);
  return root.value;
}

function mutateField(parent: Record<string, unknown>, key: string, random: Random): void {
  const value = parent[key];
  if (isStructure(value) && Object.keys(value).length > 0 && !random.oneIn(8)) {
    const inside = value as Record<string, unknown>;
    const chosen = random.pick(Object.keys(inside));
    const change = Array.isArray(value)
      ? "inside"
      : random.pick(["remove", "rename", ...Array(6).fill("inside")]);
    if (change === "remove") delete inside[chosen];
    else if (change === "rename")
      inside[random.pick(["extra", "length", "constructor", ""])] = inside[chosen];
    else mutateField(inside, chosen, random);
  } else if (typeof value === "number" && random.oneIn(2)) {
    parent[key] = random.pick([value + 1, value - 1, value * 2, value / 2, -value, value * 1e6]);
  } else parent[key] = structuredClone(random.pick(strangeValues));
}

/** Lists and maps; bytes have no fields. */
const isStructure = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
