// Runs test files, several at a time, and tells their events.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { run } from "node:test";
import { pathToFileURL } from "node:url";
import { compiled, isSlow, root, waits } from "./test-selection.mjs";

/** How many processes run at a time besides one that mostly waits: each uses several threads itself. */
const COMPUTING = 2;

/** The maximum time of one process, in milliseconds. */
const TIME_LIMIT = 10 * 60_000;

/** How many fast files share a process, because starting it and importing the sources takes longer than most of them run. */
const GROUP_SIZE = 20;

/**
 * Runs test files in a few lanes, and merges their events. Each process is a separate run of node:test, so that one that
 * hangs is ended and reported by the time limit without holding back the others.
 *
 * @param tests source paths
 * @param name a regular expression: runs only the tests with such names. Each file then has its own process, so that
 *   only names inside of the file count.
 * @returns a stream of node:test's events, each with its `test`, the source path of its file
 */
export function runTests(tests, { name }) {
  const merged = new PassThrough({ objectMode: true });
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-tests-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const waiting = tests.filter(waits).map((test) => [test]);
  const computing = processes(
    tests.filter((test) => !waits(test)),
    name === undefined ? GROUP_SIZE : 1,
  );
  const queues = { waiting: waiting.values(), computing: computing.values() };
  const runAll = async (queue) => {
    for (const files of queue)
      for await (const event of runProcess(files, { folder, name })) merged.write(event);
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

/** The files of each process, in order: slow files have their own, and fast ones share one with others of their package. */
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
async function* runProcess(tests, { folder, name }) {
  const [first] = tests;
  const path = tests.length === 1 ? join(root, compiled(first)) : writeGroup(folder, tests);
  const events = run({
    files: [path],
    signal: AbortSignal.timeout(TIME_LIMIT),
    ...(name === undefined ? {} : { testNamePatterns: [new RegExp(name)] }),
  });
  if (tests.length > 1) yield* tellApart(events, tests);
  else for await (const event of events) yield { test: first, ...event };
}

/** Writes a test file that runs several: each is a suite, named by its source path. @returns its path */
function writeGroup(folder, tests) {
  const suites = tests.map((test) => {
    const url = pathToFileURL(join(root, compiled(test))).href;
    return `describe(${JSON.stringify(test)}, () => import(${JSON.stringify(url)}));\n`;
  });
  const path = join(mkdtempSync(join(folder, "group-")), "group.mjs");
  writeFileSync(path, `import { describe } from "node:test";\n${suites.join("")}`);
  return path;
}

/** Gives the events of a group the form that they have when each file has its own process. */
async function* tellApart(events, tests) {
  /** The file whose tests are being reported. */
  let current = tests[0];
  const running = new Set(tests);
  for await (const { type, data } of events) {
    if (!data.file) yield { test: current, type, data };
    // Output does not say which file it is from, and comes sooner than the other events.
    else if (type === "test:stdout" || type === "test:stderr")
      for (const test of tests) yield { test, type, data };
    else if (data.nesting > 0) yield { test: current, type, data: { ...data, nesting: data.nesting - 1 } };
    else if (tests.includes(data.name)) {
      if (type === "test:start") current = data.name;
      if (type === "test:complete") running.delete(data.name);
      yield { test: data.name, type, data: { ...data, name: data.file } };
    }
    // Of the process itself only a failure matters; the first file that it left unfinished shows it.
    else if (type === "test:fail") yield { test: [...running, current][0], type, data };
  }
}
