// Runs test files, several at a time, and reports their events.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { run } from "node:test";
import { pathToFileURL } from "node:url";
import { compiled, isSlow, root, waits } from "./test-selection.mjs";

/** How many processes run at a time besides one that mostly waits: each uses several threads itself. */
const COMPUTING = 2;

/** The maximum time of one process, in milliseconds. */
const TIME_LIMIT = 10 * 60_000;

/**
 * How many fast files share a process. Most run for less time than it takes to start a process and import the sources.
 */
const GROUP_SIZE = 20;

/**
 * Runs test files in a few lanes, and merges their events. Each process is a separate run of node:test, so that one that
 * hangs is ended and reported by the time limit without holding back the others.
 *
 * @param tests source paths
 * @param options.name a regular expression: runs only the tests with such names. Each file then has its own process, so
 *   that only names inside the file count.
 * @param options.pathOf finds the file to run for a source path
 * @returns a stream of node:test's events, each with its `test`, the source path of its file (empty if it is unknown), and
 *   its `process`, the source paths of all files that share the process
 */
export function runTests(tests, { name, pathOf = (test) => join(root, compiled(test)) } = {}) {
  const merged = new PassThrough({ objectMode: true });
  const folder = temporaryFolder();
  const waiting = tests.filter(waits).map((test) => [test]);
  const computing = processes(
    tests.filter((test) => !waits(test)),
    name === undefined ? GROUP_SIZE : 1,
  );
  const queues = { waiting: waiting.values(), computing: computing.values() };
  const runAll = async (queue) => {
    for (const files of queue)
      for await (const event of runProcess(files, { folder, name, pathOf }))
        merged.write({ ...event, process: files });
  };
  // The queues are shared, so that each lane takes the next process when it is free.
  const lanes = [
    ...Array.from({ length: COMPUTING }, () => runAll(queues.computing)),
    runAll(queues.waiting).then(() => runAll(queues.computing)),
  ];
  Promise.all(lanes).then(
    () => merged.end(),
    (error) => merged.destroy(error),
  );
  return merged;
}

/** Makes a folder that is removed when this process ends. */
function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-tests-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"])
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  return folder;
}

/** The files of each process, in order. A slow file has its own process; fast files share one with others of their package. */
function processes(tests, groupSize) {
  const made = [];
  const open = new Map();
  for (const test of tests) {
    const group = open.get(packageOf(test));
    if (isSlow(test)) made.push([test]);
    else if (group && group.length < groupSize) group.push(test);
    else {
      open.set(packageOf(test), [test]);
      made.push(open.get(packageOf(test)));
    }
  }
  return made;
}

const packageOf = (test) => test.split("/")[1];

/** Runs the files of one process. */
async function* runProcess(tests, { folder, name, pathOf }) {
  const [first] = tests;
  const isGroup = tests.length > 1;
  const events = run({
    files: [isGroup ? writeGroup(folder, tests, pathOf) : pathOf(first)],
    signal: AbortSignal.timeout(TIME_LIMIT),
    ...(name === undefined ? {} : { testNamePatterns: [new RegExp(name)] }),
  });
  const files = new GroupFiles(tests, pathOf);
  let failed = false;
  let unfinished = 0;
  for await (const event of events) {
    const { type, data } = event;
    failed ||= type === "test:fail";
    if (data.file && type === "test:enqueue") unfinished++;
    if (data.file && type === "test:complete") unfinished--;
    if (isGroup) yield* files.tellApart(event);
    else yield { test: first, ...event };
  }
  if (unfinished > 0 && !failed && name === undefined)
    yield failure(isGroup ? files.unfinished : first, "Its process ended before its tests did.");
}

/** Tests that measure memory must not see the garbage of earlier files disappear. */
const groupHead = `
import { before, describe } from "node:test";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
const collectGarbage = async () => {
  collect();
  // Finalizers run in a later turn of the event loop.
  await setImmediate();
};
`;

/** Writes a test file that runs several: each is a suite, named by its source path. @returns its path */
function writeGroup(folder, tests, pathOf) {
  const suites = tests.map((test) => {
    const url = pathToFileURL(pathOf(test)).href;
    return `describe(${JSON.stringify(test)}, () => {
  before(collectGarbage);
  return import(${JSON.stringify(url)});
});\n`;
  });
  const path = join(mkdtempSync(join(folder, "group-")), "group.mjs");
  writeFileSync(path, groupHead + suites.join(""));
  return path;
}

/** Makes the events of a group look as if each file had its own process. */
class GroupFiles {
  #tests;
  #current;
  #running;
  #byPath;

  constructor(tests, pathOf) {
    this.#tests = tests;
    [this.#current] = tests;
    this.#running = new Set(tests);
    this.#byPath = new Map(tests.map((test) => [pathOf(test), test]));
  }

  /** The first file whose tests have not all ended; empty if there is none. */
  get unfinished() {
    return [...this.#running][0] ?? "";
  }

  /** The same event as if its file had run alone; nothing for events that only the group has. */
  *tellApart({ type, data }) {
    if (data.nesting > 0) {
      // Tests that a helper declares are those of the file that is being reported.
      const test = this.#byPath.get(data.file) ?? this.#current;
      yield { test, type, data: { ...data, nesting: data.nesting - 1 } };
    } else if (this.#tests.includes(data.name)) {
      if (type === "test:start") this.#current = data.name;
      if (type === "test:complete") this.#running.delete(data.name);
      yield { test: data.name, type, data: { ...data, name: data.file } };
    } else if (type === "test:fail") {
      // The process itself.
      yield { test: this.unfinished, type, data };
    } else if (data.message !== undefined) {
      // Output does not say which file it is from.
      yield { test: "", type, data };
    }
  }
}

/** The event of a file that failed as a whole. */
const failure = (test, cause) => ({
  test,
  type: "test:fail",
  data: { nesting: 0, name: test, file: test, details: { error: { cause } } },
});
