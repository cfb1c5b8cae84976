import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { folderPerTest } from "./support/folders.js";
import { at } from "./support/tensors.js";

const currentFolder = folderPerTest("test-runner");
const script = (name: string): string => JSON.stringify(at(`../../scripts/${name}.mjs`));

const passing = `test("passes", () => {});`;

/** A test that ends its process once the tests before it have been reported. */
const ending = (code: number): string =>
  `test("ends", () => new Promise(() => setTimeout(() => process.exit(${code}), 200)));`;

/** Runs test files in one process, as `npm test` runs fast ones. @returns the report */
function report(sources: Readonly<Record<string, string>>): string {
  const folder = currentFolder();
  for (const [name, source] of Object.entries(sources))
    writeFileSync(
      join(folder, `${name}.mjs`),
      `import assert from "node:assert/strict"; import { after, test } from "node:test";\n${source}`,
    );
  const main = `
    import { join } from "node:path";
    import { formatReport } from ${script("test-report")};
    import { collectResults } from ${script("test-results")};
    import { runTests } from ${script("test-runs")};
    const tests = ${JSON.stringify(Object.keys(sources).map((name) => `packages/toy/test/${name}.test.ts`))};
    const pathOf = (test) => join(${JSON.stringify(folder)}, test.split("/").at(-1).replace(".test.ts", ".mjs"));
    const progress = { fileEnded() {}, failed() {} };
    const results = await collectResults(runTests(tests, { pathOf }), { tests, filtered: false, progress });
    console.log(formatReport(results, { times: false }));`;
  const path = join(folder, "main.mjs");
  writeFileSync(path, main);
  // A test that runs inside another one reports to that.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { stdout, stderr } = spawnSync(process.execPath, [path], { encoding: "utf8", env });
  assert.equal(stderr, "");
  return stdout;
}

describe("test files that share a process", () => {
  test("are counted like files that have one each", () => {
    const text = report({
      a: `${passing} test("skips", { skip: "no reason" }, () => {});`,
      b: `${passing} test("fails", () => assert.equal(1, 2));`,
    });
    assert.match(text, /^FAILED packages\/toy\/test\/b\.test\.ts › fails$/m);
    assert.match(text, /^ {2}packages\/toy\/test\/a\.test\.ts › skips$/m);
    assert.match(text, /^2 test files in .*\n2 passed, 1 failed, 1 skipped$/m);
  });

  test("fail with their own hooks and imports", () => {
    const text = report({
      a: passing,
      b: `throw new Error("at import");`,
      c: `after(() => { throw new Error("in a hook"); }); ${passing}`,
      d: "",
    });
    assert.match(text, /^FAILED packages\/toy\/test\/b\.test\.ts\n {2}Error: at import$/m);
    assert.match(text, /^FAILED packages\/toy\/test\/c\.test\.ts\n {2}Error: in a hook$/m);
    assert.match(text, /^FAILED packages\/toy\/test\/d\.test\.ts\n {2}The file ran no tests\.$/m);
    assert.match(text, /^2 passed, 3 failed, 0 skipped$/m);
  });

  test("start without the garbage of earlier ones", () => {
    const text = report({
      a: `test("leaves garbage", () => { globalThis.garbage = new WeakRef({}); });`,
      b: `test("finds none", () => assert.equal(globalThis.garbage.deref(), undefined));`,
    });
    assert.match(text, /^2 passed, 0 failed, 0 skipped$/m);
  });

  for (const code of [0, 3])
    test(`fail when one ends the process with ${code}`, () => {
      const text = report({
        a: passing,
        b: `console.log("said"); ${ending(code)} ${passing}`,
        c: passing,
      });
      const reason = code === 0 ? "before its tests did" : "with exit code 3";
      assert.match(
        text,
        new RegExp(`^FAILED packages/toy/test/b\\.test\\.ts\n {2}Its process ended ${reason}`, "m"),
      );
      assert.match(text, /^ {2}These files shared its process:\n {4}packages\/toy\/test\/a\.test\.ts$/m);
      assert.match(text, /^FAILED packages\/toy\/test\/c\.test\.ts\n {2}The file ran no tests\.$/m);
      assert.equal(text.match(/said/g)?.length, 1);
    });

  test("are all named when the process fails after their tests", () => {
    const text = report({ a: `${passing} process.exitCode = 3;`, b: passing });
    assert.match(text, /^FAILED outside of a test\n {2}Its process ended with exit code 3\.$/m);
    assert.match(text, /^ {4}packages\/toy\/test\/a\.test\.ts\n {4}packages\/toy\/test\/b\.test\.ts$/m);
  });
});

test("a test file of its own fails when it ends its process before its tests did", () => {
  const text = report({ a: `${passing} ${ending(0)}` });
  assert.match(
    text,
    /^FAILED packages\/toy\/test\/a\.test\.ts\n {2}Its process ended before its tests did\.$/m,
  );
});
