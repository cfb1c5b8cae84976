import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "./support/server.js";

const root = fileURLToPath(new URL("../../../..", import.meta.url));
const folder = temporaryFolder();
const modules = join(folder, "application", "node_modules");
const ours = ["mlx", "mflux-depth", "nodetool", "server"];

/** Links a package that others made. */
function link(from: string, name: string): void {
  const target = join(modules, name);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(from, name), target);
}

/** The names of the packages in a folder, scoped ones too. */
const packagesIn = (path: string): string[] =>
  readdirSync(path).flatMap((name) =>
    name.startsWith("@") ? readdirSync(join(path, name)).map((one) => `${name}/${one}`) : [name],
  );

/** Packs a package of ours and unpacks it as npm would install it. @returns the names of its files. */
function install(name: string): string[] {
  const path = join(root, "packages", name);
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--offline", "--pack-destination", folder], {
      cwd: path,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  ) as { filename: string; name: string; files: { path: string }[] }[];
  const target = join(modules, packed!.name);
  mkdirSync(target, { recursive: true });
  execFileSync("tar", ["-xf", join(folder, packed!.filename), "-C", target, "--strip-components=1"]);
  return packed!.files.map((file) => file.path);
}

const files = Object.fromEntries(ours.map((name) => [name, install(name)]));
const nested = join(root, "packages", "server", "node_modules");
for (const from of [...(existsSync(nested) ? [nested] : []), join(root, "node_modules")])
  for (const name of packagesIn(from)) if (!name.startsWith("@mflux-depth/")) link(from, name);

const serve = (...argv: string[]) =>
  spawnSync(process.execPath, [join(modules, "mflux-depth", "bin", "mflux-depth.js"), "serve", ...argv], {
    cwd: folder,
    encoding: "utf8",
  });

describe("the packed packages", () => {
  test("of the server have its code, and no tests", () => {
    assert.ok(files.server!.includes("dist/src/main.js"));
    assert.ok(files.server!.includes("dist/src/contract/index.d.ts"));
    assert.deepEqual(
      files.server!.filter((file) => /test|tsbuildinfo/.test(file)),
      [],
    );
  });

  test("have a server that is found by name", () => {
    const { status, stdout, stderr } = serve("--help");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^Usage: mflux-depth serve.* --port /s);
  });

  test("say what to install where the server was left out", () => {
    rmSync(join(modules, "@mflux-depth", "server"), { recursive: true });
    const { status, stderr } = serve("--help");
    assert.equal(status, 2);
    assert.match(stderr, /npm install @mflux-depth\/server/);
  });
});
