// Builds, lints and tests everything or a scope of it; prints failures, skipped tests and a summary.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { showProgress } from "./test-progress.mjs";
import { formatReport } from "./test-report.mjs";
import { collectResults } from "./test-results.mjs";
import { runTests } from "./test-runs.mjs";
import { root, selectTests } from "./test-selection.mjs";

const usage = `Usage: npm test -- [--name <pattern>] [--times] [<scope> ...]
       npm run test:fast -- [<scope> ...]

  <scope>   a package (mlx), a folder (packages/mflux-depth/test/models), a file
            (packages/mflux-depth/test/models/t5.test.ts) or the name of a file (t5); without one, everything
  --fast    leave out the slow files, which scripts/slow-tests.mjs lists
  --name    run only the tests whose names match this regular expression
  --times   print the time of every file, slowest first`;

// Reading additional certificates slows down every start of Node, and tests connect to this machine only.
delete process.env.NODE_EXTRA_CA_CERTS;

const { values: options, positionals: scopes } = readArguments();
const tests = orExit(() => selectTests(scopes, { fast: options.fast }));

runTool("tsc", "-b");
// The studio's tests open the page that the server serves.
if (tests.some((test) => test.startsWith("packages/studio/"))) runTool("vite", "build", "packages/studio");
// Scoped runs are for quick feedback, so they skip the linter.
if (scopes.length === 0) runTool("biome", "check", "--reporter=summary", ".");

const events = runTests(tests, options);
const progress = showProgress(tests.length);
const results = await collectResults(events, { tests, filtered: options.name !== undefined, progress }).catch(
  (error) => {
    // While tests run, node:test handles uncaught errors.
    console.error(error);
    process.exit(1);
  },
);
progress.end();
console.log(formatReport(results, { times: options.times }));
process.exitCode = results.failures.length > 0 ? 1 : 0;

function readArguments() {
  const parsed = orExit(() =>
    parseArgs({
      allowPositionals: true,
      options: {
        fast: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
        name: { type: "string" },
        times: { type: "boolean", default: false },
      },
    }),
  );
  if (parsed.values.help) {
    console.log(usage);
    process.exit(0);
  }
  return parsed;
}

/** Returns what `read` returns; if it throws, prints the message with the usage and exits with 2. */
function orExit(read) {
  try {
    return read();
  } catch (error) {
    console.error(`${error.message}\n\n${usage}`);
    process.exit(2);
  }
}

/** Runs a tool of node_modules; shows its output only if it fails, and exits with its code. */
function runTool(name, ...args) {
  const path = join(root, "node_modules", ".bin", name);
  const { status, error, stdout, stderr } = spawnSync(process.execPath, [path, ...args], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}) },
  });
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ""}${stderr ?? ""}`);
  console.error(`${name} ${args.join(" ")} failed${error ? `: ${error.message}` : ""}`);
  process.exit(status ?? 1);
}
