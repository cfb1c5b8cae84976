import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { TestServer, temporaryFolder } from "./support/server.js";

const root = fileURLToPath(new URL("../../../..", import.meta.url));
const examples = join(root, "examples", "server");
const run = promisify(execFile);

const token = "a-token-for-examples";
const server = await TestServer.start({ env: { MFLUX_DEPTH_TOKEN: token } });
const env = { ...process.env, MFLUX_DEPTH_URL: server.url, MFLUX_DEPTH_TOKEN: token };

/** Runs a program, which must write a picture. @returns what it prints. */
async function makesAPicture(command: string, ...argv: string[]): Promise<string> {
  const cwd = temporaryFolder();
  const { stdout } = await run(command, argv, { cwd, env });
  const { width, height } = await sharp(readFileSync(join(cwd, "portrait.png"))).metadata();
  assert.deepEqual([width, height], [256, 256]);
  rmSync(cwd, { recursive: true });
  return stdout;
}

describe("the example", () => {
  test("with curl makes a picture", async () => {
    assert.match(await makesAPicture(join(examples, "generate.sh")), /event: succeeded\nportrait\.png\n$/);
  });

  test("in Python makes a picture", async () => {
    assert.match(
      await makesAPicture("python3", join(examples, "generate.py")),
      /step 20 of 20\nportrait\.png\n$/,
    );
  });

  // Node.js 20 runs no TypeScript: compiled, with what they import and read.
  const folder = temporaryFolder();
  mkdirSync(join(folder, "examples"));
  cpSync(join(root, "examples", "images"), join(folder, "examples", "images"), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  cpSync(examples, join(folder, "examples", "server"), { recursive: true });
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  const flags = [
    "--module",
    "nodenext",
    "--target",
    "es2022",
    "--strict",
    "--skipLibCheck",
    "--types",
    "node",
  ];

  const outputs = {
    generate: /step 20 of 20\nportrait\.png\n$/,
    openai: /preview 2\nportrait\.png\n$/,
  };
  const files = Object.keys(outputs).map((name) => join(folder, "examples", "server", `${name}.ts`));
  before(() =>
    run(process.execPath, [compiler, ...flags, ...files], { cwd: folder }).catch(
      (error: { stdout: string }) => {
        assert.fail(error.stdout);
      },
    ),
  );

  for (const [name, output] of Object.entries(outputs))
    test(`${name}.ts makes a picture`, async () => {
      const file = join(folder, "examples", "server", `${name}.js`);
      assert.match(await makesAPicture(process.execPath, file), output);
    });
});
