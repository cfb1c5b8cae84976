import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "./support/process.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = temporaryFolder();
// A PATH without a compiler, Python or anything else.
const nothing = join(folder, "nothing");
mkdirSync(nothing);

const platform = `${process.platform}-${process.arch}`;
const manifestOf = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as Record<string, unknown>;

function node(
  args: string[],
  options: { cwd: string; path?: string },
): { status: number | null; output: string } {
  const { MLX_ROOT, MFLUX_DEPTH_BACKEND, PYTHON, CXX, npm_config_python, ...env } = process.env;
  const child = spawnSync(process.execPath, args, {
    cwd: options.cwd,
    encoding: "utf8",
    env: { ...env, PATH: options.path ?? nothing },
  });
  return { status: child.status, output: `${child.stdout}${child.stderr}` };
}

describe("a platform package", () => {
  const application = join(folder, "application");
  const installed = (name: string): string => join(application, "node_modules", "@mflux-depth", name);
  const npm = (args: string[], cwd: string): string =>
    execFileSync("npm", [...args, "--offline", "--ignore-scripts", "--loglevel=error"], {
      cwd,
      encoding: "utf8",
    }).trim();
  const pack = (path: string): string => {
    const file = npm(["pack", "--pack-destination", folder], path).split("\n").at(-1) ?? "";
    return `file:${join(folder, file)}`;
  };

  before(() => {
    const made = node([join(root, "native", "pack.mjs"), folder], { cwd: folder });
    assert.equal(made.status, 0, made.output);
    // Replace the build tools, which come from a registry and are not used here.
    const tool = join(folder, "tool");
    mkdirSync(tool);
    writeFileSync(join(tool, "package.json"), JSON.stringify({ name: "tool", version: "1.0.0" }));
    mkdirSync(application);
    writeFileSync(
      join(application, "package.json"),
      JSON.stringify({
        private: true,
        dependencies: {
          "@mflux-depth/mlx": pack(root),
          [`@mflux-depth/mlx-${platform}`]: pack(made.output.trim()),
        },
        overrides: { "node-addon-api": `file:${tool}`, "node-gyp": `file:${tool}` },
      }),
    );
    npm(["install", "--no-audit", "--no-fund"], application);
  });

  test("names its platform and holds the licences", () => {
    const manifest = manifestOf(installed(`mlx-${platform}`));
    assert.deepEqual(manifest.os, [process.platform]);
    assert.deepEqual(manifest.cpu, [process.arch]);
    assert.equal(manifest.version, manifestOf(root).version);
    const licences = readdirSync(join(installed(`mlx-${platform}`), "licenses")).map((name) =>
      readFileSync(join(installed(`mlx-${platform}`), "licenses", name), "utf8"),
    );
    assert.ok(licences.some((text) => text.includes("Apple Inc.")));
    if (process.platform === "linux") assert.ok(licences.some((text) => text.includes("OpenBLAS Project")));
  });

  test("computes without a compiler or Python", () => {
    writeFileSync(
      join(application, "program.mjs"),
      `import * as mx from "@mflux-depth/mlx";
       const sum = mx.sum(mx.matmul(mx.full([70, 80], 0.5), mx.ones([80, 90]))).item();
       console.log(JSON.stringify({ sum, ...mx.backend() }));`,
    );
    const { status, output } = node(["program.mjs"], { cwd: application });
    assert.equal(status, 0, output);
    const found = JSON.parse(output) as { sum: number; library: string; blas: { name: string } };
    assert.equal(found.sum, 70 * 90 * 40);
    assert.ok(found.library.startsWith(installed(`mlx-${platform}`)), found.library);
    if (process.platform === "linux") assert.match(found.blas.name, /^OpenBLAS/);
  });

  test("makes the install script do nothing", () => {
    assert.deepEqual(node(["native/install.mjs"], { cwd: installed("mlx") }), { status: 0, output: "" });
  });

  test("of another version is rejected, with an error that lists the attempts", () => {
    const path = join(installed(`mlx-${platform}`), "package.json");
    const text = readFileSync(path, "utf8");
    writeFileSync(path, JSON.stringify({ ...manifestOf(installed(`mlx-${platform}`)), version: "0.0.1" }));
    try {
      const { status, output } = node(["program.mjs"], { cwd: application });
      assert.equal(status, 1);
      assert.match(output, /MlxError: load: MLX's addon cannot be loaded/);
      assert.ok(output.includes(`@mflux-depth/mlx-${platform} is 0.0.1; this package needs`), output);
      assert.match(output, /build\/Release\/mlx\.node/);
      assert.match(output, /npm rebuild @mflux-depth\/mlx/);
    } finally {
      writeFileSync(path, text);
    }
  });
});

describe("the install script names a missing requirement:", { skip: process.platform !== "linux" }, () => {
  /** Runs the install script of a fresh copy, with these programs (shell scripts) as the only ones on the PATH. */
  function install(name: string, programs: Record<string, string>): string {
    const copy = join(folder, name);
    const path = join(copy, "bin");
    mkdirSync(path, { recursive: true });
    for (const part of ["native", "package.json", "binding.gyp"])
      cpSync(join(root, part), join(copy, part), { recursive: true });
    for (const [program, script] of Object.entries(programs)) {
      writeFileSync(join(path, program), `#!/bin/sh\n${script}\n`);
      chmodSync(join(path, program), 0o755);
    }
    const { status, output } = node(["native/install.mjs"], { cwd: copy, path });
    assert.equal(status, 1, output);
    assert.match(output, /@mflux-depth\/mlx cannot be installed: .*[\s\S]*\n {2}To fix it: /);
    assert.ok(!/\n {4}at /.test(output), output);
    assert.deepEqual(
      readdirSync(copy).filter((entry) => entry.includes("partial")),
      [],
    );
    return output;
  }

  /** A fake Python of this version; `pip` is the shell code of its pip, by command. */
  const python = (version: string, pip: string): string =>
    `case "$1" in -c) echo ${version};; *) case "$3" in ${pip} esac;; esac`;
  const working = (install: string): string => python("3.11", `--version) echo pip 24.0;; *) ${install};;`);
  const fetched = working("exit 0");

  const cases: [name: string, programs: Record<string, string>, says: RegExp][] = [
    ["Python", {}, /no Python found \(tried python3, python\)/],
    ["a newer Python", { python3: python("3.7", "*) exit 1;;") }, /is Python 3\.7; 3\.8 or newer/],
    ["pip", { python3: python("3.11", "*) exit 1;;") }, /python3 has no pip/],
    ["a newer pip", { python3: python("3.9", "*) echo pip 19.1.1;;") }, /pip 19\.1\.1 does not support/],
    [
      "a network",
      {
        python3: working(
          "echo 'WARNING: Retrying: NewConnectionError' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
        ),
      },
      /cannot reach the package index/,
    ],
    [
      "a wheel",
      { python3: working("echo 'ERROR: No matching distribution found for mlx-cpu' >&2; exit 1") },
      /no MLX wheel for this platform/,
    ],
    [
      "the right wheel",
      {
        python3: working(
          "echo 'THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE' >&2; exit 1",
        ),
      },
      /differs from the pinned one/,
    ],
    ["make", { python3: fetched }, /make was not found/],
    ["a compiler", { python3: fetched, make: "exit 0" }, /no C\+\+ compiler \(g\+\+\)/],
    [
      "a newer compiler",
      { python3: fetched, make: "exit 0", "g++": 'case "$1" in --version) exit 0;; *) exit 1;; esac' },
      /g\+\+ does not compile C\+\+20/,
    ],
  ];
  for (const [name, programs, says] of cases)
    test(name, () => assert.match(install(name.replaceAll(" ", "-"), programs), says));
});
