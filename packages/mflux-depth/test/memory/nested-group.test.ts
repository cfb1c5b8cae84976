import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { at } from "../support/tensors.js";

/** The limit of the outer group, in bytes. The inner one, in which the processes run, has none. */
const limit = 400 * 2 ** 20;

/** A control group with a limit, and a group in it. */
interface NestedGroup {
  readonly outer: string;
  readonly inner: string;
}

/** Creates groups within this process's group. @returns a reason to skip if the system does not allow that. */
function makeGroups(): NestedGroup | string {
  if (process.platform !== "linux") return "only Linux has control groups";
  const lines = readFileSync("/proc/self/cgroup", "utf8");
  const [, controller, path] = /^\d+:(memory):(.*)$/m.exec(lines) ?? /^0:():(.*)$/m.exec(lines) ?? [];
  if (path === undefined) return "this process has no control group";
  const version1 = controller === "memory";
  const outer = join(
    version1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup",
    path,
    `mflux-depth-test-${process.pid}`,
  );
  try {
    mkdirSync(outer);
    writeFileSync(join(outer, version1 ? "memory.limit_in_bytes" : "memory.max"), `${limit}`);
    mkdirSync(join(outer, "inner"));
  } catch (error) {
    if (existsSync(outer)) rmdirSync(outer);
    return `this process may not make control groups (${(error as NodeJS.ErrnoException).code})`;
  }
  return { outer, inner: join(outer, "inner") };
}

const groups = makeGroups();

/** Runs a module in the inner group, and returns what it prints. */
function runInside(module: string): unknown {
  const { inner } = groups as NestedGroup;
  const enter = `echo $$ > '${inner}/cgroup.procs' && exec "$0" --input-type=module -e "$1"`;
  const { stdout, stderr, status } = spawnSync("sh", ["-c", enter, process.execPath, module], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

const imported = (file: string, name: string): string =>
  `const { ${name} } = await import(${JSON.stringify(at(`dist/src/${file}.js`))});`;

describe("the limit of a group around this process's group", {
  skip: typeof groups === "string" ? groups : false,
}, () => {
  after(() => {
    const { outer, inner } = groups as NestedGroup;
    rmdirSync(inner);
    rmdirSync(outer);
  });

  test("is the one that doctor reports", () => {
    const report = runInside(`${imported("doctor/machine-report", "inspectMachine")}
      console.log(JSON.stringify((await inspectMachine()).memory.limitBytes));`);
    assert.equal(report, limit);
  });

  test("is the one that plans respect", () => {
    const machine = runInside(`${imported("memory/machine", "machineMemory")}
      console.log(JSON.stringify(machineMemory("cpu")));`) as {
      total: number;
      available: number;
      source: string;
    };
    assert.deepEqual([machine.total, machine.source], [limit, "control group"]);
    assert.ok(machine.available > 0 && machine.available < limit);
  });

  test("makes an idle engine release its model", () => {
    const short = runInside(`${imported("memory/pressure", "shortOfMemory")}
      ${imported("memory/control-group", "controlGroup")}
      const before = await shortOfMemory();
      const held = [];
      while (controlGroup().free > 0.04 * ${limit}) held.push(Buffer.alloc(2 ** 21, 1));
      console.log(JSON.stringify([before, await shortOfMemory()]));`);
    assert.deepEqual(short, [false, true]);
  });
});
