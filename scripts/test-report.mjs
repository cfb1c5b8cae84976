// Writes the report of a test run.
import { inspect } from "node:util";

/**
 * The report: the time of each file if `times`, skipped tests with reasons, failures in full, counts for each package,
 * and "N passed, N failed, N skipped" as the last line.
 *
 * @param {import("./test-results.mjs").Results} results
 */
export function formatReport({ files, failures, outputs, skipped, seconds }, { times }) {
  const { passed, skipped: skips } = sum([...files.values()]);
  return [
    ...(times ? fileTimes(files) : []),
    ...skippedTests(skipped),
    ...failedTests(failures, outputs),
    ...packageCounts(files),
    `${files.size} test file${files.size === 1 ? "" : "s"} in ${formatSeconds(seconds)}`,
    `${passed} passed, ${failures.length} failed, ${skips} skipped`,
  ].join("\n");
}

/** The title of a test: its file, then the names of the surrounding suites, then its own. */
export function testTitle(file, name) {
  return [file, name].filter(Boolean).join(" › ") || "outside of a test";
}

function fileTimes(files) {
  const slowestFirst = [...files].sort(([, a], [, b]) => b.seconds - a.seconds);
  return [...slowestFirst.map(([test, { seconds }]) => `${formatSeconds(seconds).padStart(9)}  ${test}`), ""];
}

/** Skipped tests, grouped by reason. */
function skippedTests(skipped) {
  const reasons = new Set(skipped.map(({ reason }) => reason));
  const lines = [...reasons].flatMap((reason) => [
    `Skipped: ${reason || "no reason given"}`,
    ...skipped.filter((test) => test.reason === reason).map(({ file, name }) => `  ${testTitle(file, name)}`),
  ]);
  return lines.length > 0 ? [...lines, ""] : [];
}

/** All failures; after the last one of a process, what that printed. */
function failedTests(failures, outputs) {
  return failures.flatMap(({ file, name, error, process }, i) => {
    const isOfProcess = (other) => other.process === process;
    const output = failures.slice(i + 1).some(isOfProcess) ? undefined : outputs.get(process);
    const isWhole = name === "" && process?.length > 1;
    const isFirst = !failures.slice(0, i).some((other) => isOfProcess(other) && other.name === "");
    return [
      `FAILED ${testTitle(file, name)}`,
      indent(errorText(error)),
      ...(isWhole && isFirst ? [indent(sharing(process))] : []),
      ...(output ? [indent(`Output of its process:\n${indent(output)}`)] : []),
      "",
    ];
  });
}

/** Names the files of a process: any of them may have made it fail. */
function sharing(process) {
  return `These files shared its process:\n${indent(process.join("\n"))}`;
}

/** A test's error with message, diff and stack, or how its process ended. */
function errorText(error) {
  if (typeof error === "string") return error;
  const { cause, exitCode, signal } = error;
  if (signal) return `Its process was ended by ${signal}.`;
  if (exitCode !== undefined) return `Its process ended with exit code ${exitCode}.`;
  if (!(cause instanceof Error)) return typeof cause === "string" ? cause : inspect(cause ?? error);
  // A generated assertion message already contains what inspect would print.
  const text = cause.generatedMessage ? cause.stack : inspect(cause);
  // Frames of Node itself; the last may be followed by the brace that opens an error's properties.
  return text.replace(/\n +at .*\bnode:internal\/.*?( \{)?$/gm, "$1");
}

function packageCounts(files) {
  const names = [...new Set([...files.keys()].map(packageOf))].sort();
  const width = Math.max(...names.map((name) => name.length));
  return names.map((name) => {
    const counts = sum([...files].filter(([test]) => packageOf(test) === name).map(([, file]) => file));
    const { passed, failed, skipped, seconds } = counts;
    return `${name.padEnd(width)}  ${passed} passed, ${failed} failed, ${skipped} skipped (${formatSeconds(seconds)})`;
  });
}

function packageOf(test) {
  return test.split("/")[1];
}

function sum(files) {
  const total = { passed: 0, failed: 0, skipped: 0, seconds: 0 };
  for (const file of files) for (const key of Object.keys(total)) total[key] += file[key];
  return total;
}

function indent(text) {
  return text.trimEnd().replace(/^(?=.)/gm, "  ");
}

function formatSeconds(seconds) {
  return `${seconds.toFixed(1)} s`;
}
