// Collects the results of a test run from the events of node:test.
/** The number of characters to keep from the end of a process's output. */
const OUTPUT_LIMIT = 10_000;

/** Node's reason for tests excluded by `testNamePatterns`. */
const LEFT_OUT = "test name does not match pattern";

/**
 * The results of a test run.
 *
 * @typedef {object} Results
 * @property {Map<string, FileResults>} files by source path
 * @property {{ file: string, name: string, error: unknown, process?: string[] }[]} failures `file` and `name` are empty
 *   where unknown; `process` has the source paths of all files that share the process
 * @property {Map<string[], string>} outputs of the processes
 * @property {{ file: string, name: string, reason: string }[]} skipped
 * @property {number} seconds
 *
 * @typedef {{ passed: number, failed: number, skipped: number, seconds: number }} FileResults
 */

/**
 * Follows a test run to its end.
 *
 * @param events the events of node:test's `run`, each with its `test`, the source path of the file that runs: tests may
 *   be declared by other files
 * @param tests the source paths of the files it runs
 * @param filtered whether tests are chosen by name, so that a file may run none
 * @param progress told of each file that ends and each failure; see test-progress.mjs
 * @returns {Promise<Results>}
 */
export async function collectResults(events, { tests, filtered, progress }) {
  const started = performance.now();
  const results = {
    files: new Map(tests.map((test) => [test, newFile()])),
    failures: [],
    outputs: new Map(),
    skipped: [],
    seconds: 0,
  };
  /** For each file, the names of the last reported test and of its surrounding suites. */
  const names = new Map(tests.map((test) => [test, []]));

  /** For each file, the files that share its process. */
  const processes = new Map();

  const fail = (file, name, error, process) => {
    if (file) results.files.get(file).failed++;
    results.failures.push({ file, name, error, process });
    progress.failed(file, name);
  };

  for await (const { test, process, type, data } of events) {
    for (const one of process) processes.set(one, process);
    // Node reports a test that throws after its end only as text, without its file.
    if (type === "test:diagnostic" && data.message.startsWith("Error: ")) fail("", "", data.message, process);
    if (!data.file) continue;
    if (type === "test:stdout" || type === "test:stderr") {
      const output = (results.outputs.get(process) ?? "") + data.message;
      results.outputs.set(process, output.slice(-OUTPUT_LIMIT));
      continue;
    }
    const file = results.files.get(test);
    // Node also reports each file as a test named after its path.
    const isFile = data.nesting === 0 && data.name === data.file;
    const name = () => (isFile ? "" : [...names.get(test).slice(0, data.nesting), data.name].join(" › "));
    switch (type) {
      case "test:start":
        names.get(test).splice(data.nesting, Infinity, data.name);
        break;
      case "test:complete":
        if (!isFile) break;
        file.seconds = data.details.duration_ms / 1000;
        progress.fileEnded();
        break;
      case "test:pass":
        if (isFile || data.skip === LEFT_OUT) break;
        if (data.skip !== undefined) {
          file.skipped++;
          results.skipped.push({ file: test, name: name(), reason: data.skip === true ? "" : data.skip });
        } else if (data.details.type !== "suite") file.passed++;
        break;
      case "test:fail":
        // The failed subtests have already been reported.
        if (data.details.error.failureType !== "subtestsFailed")
          fail(test, name(), data.details.error, process);
        break;
    }
  }

  const empty = tests.filter((test) => !ranTests(results.files.get(test)));
  if (!filtered) for (const test of empty) fail(test, "", "The file ran no tests.", processes.get(test));
  else if (empty.length === tests.length) fail("", "", "No test has a matching name.");
  results.seconds = (performance.now() - started) / 1000;
  return results;
}

/** @returns {FileResults} */
function newFile() {
  return { passed: 0, failed: 0, skipped: 0, seconds: 0 };
}

function ranTests({ passed, failed, skipped }) {
  return passed + failed + skipped > 0;
}
