// Selects the test files that a scope names.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { longestTests, slowTests, waitingTests } from "./slow-tests.mjs";

/** The repository. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const SUFFIX = ".test.ts";

/**
 * The test files that the scopes name, as source paths relative to the repository, the longest and then the other slow
 * ones first so that none of them is left running alone at the end.
 *
 * @param scopes packages, folders, files or names of files; none means all tests
 * @param fast leaves out the files of `slowTests`, except those a scope names directly
 * @throws if a scope names no test or `slowTests` names a missing file
 */
export function selectTests(scopes, { fast }) {
  const all = allTests();
  const listed = [...Object.keys(slowTests), ...waitingTests, ...longestTests];
  const missing = listed.filter((test) => !all.includes(test));
  if (missing.length > 0) {
    throw new Error(`scripts/slow-tests.mjs lists files that do not exist: ${missing.join(", ")}`);
  }
  const selected = new Set();
  for (const scope of scopes.length > 0 ? scopes : [""]) {
    const matches = testsIn(scope, all);
    if (matches.length === 0) throw new Error(`${scope} names no package, folder or file with tests`);
    for (const test of matches) if (!fast || matches.length === 1 || !isSlow(test)) selected.add(test);
  }
  if (selected.size === 0)
    throw new Error(`All tests of ${scopes.join(", ")} are slow; run npm test -- ${scopes.join(" ")}`);
  const longestFirst = [...waitingTests, ...longestTests];
  const rank = (test) => {
    const place = longestFirst.indexOf(test);
    if (place >= 0) return place;
    return longestFirst.length + (isSlow(test) ? 0 : 1);
  };
  return [...selected].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** Whether `test:fast` leaves a test file out. */
export const isSlow = (test) => Object.hasOwn(slowTests, test);

/** Whether a test file spends its time waiting, so that it can run next to those that compute. */
export const waits = (test) => waitingTests.includes(test);

/** The compiled file of a test: packages/mlx/test/io.test.ts becomes packages/mlx/dist/test/io.test.js. */
export function compiled(test) {
  const [packages, name, ...rest] = test.split("/");
  return [packages, name, "dist", ...rest].join("/").replace(/\.ts$/, ".js");
}

/** All test files, listed from the sources, because dist may still contain tests that were moved or deleted. */
function allTests() {
  return readdirSync(join(root, "packages"))
    .map((name) => join(root, "packages", name, "test"))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { recursive: true }).map((file) => join(folder, file)))
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => relative(root, file).split(sep).join("/"));
}

function testsIn(scope, all) {
  if (scope === "") return all;
  const inPackage = all.filter((test) => test.split("/")[1] === scope);
  if (inPackage.length > 0) return inPackage;
  const path = resolve(process.env.INIT_CWD ?? process.cwd(), scope);
  if (existsSync(path)) return testsAt(path, all);
  return all.filter((test) => [basename(test), basename(test, SUFFIX)].includes(scope));
}

/** The tests of an existing file or folder; compiled files stand for their sources. */
function testsAt(path, all) {
  const place = relative(root, path)
    .split(sep)
    .join("/")
    .replace(/^(packages\/[^/]+)\/dist\//, "$1/")
    .replace(/\.test\.js$/, SUFFIX);
  if (statSync(path).isFile()) return all.filter((test) => test === place);
  return all.filter((test) => place === "" || test.startsWith(`${place}/`));
}
