// Builds the addon with gcc's address and undefined-behaviour sanitizers in build/sanitize, next to the usual build,
// and runs the tests of the native code with it. Linux only. Arguments name compiled test files to run instead of the
// default ones: `nn/linear array`.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const copy = join(root, "build", "sanitize");
const compiler = process.env.CXX || "g++";

function must(command, args, env = {}) {
  const { status } = spawnSync(command, args, {
    cwd: copy,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (status !== 0) process.exit(status ?? 1);
}

/** Path of a runtime library of the compiler, which must be loaded before all others. */
function runtimeLibrary(name) {
  const { stdout } = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
  const path = stdout?.trim() ?? "";
  if (path.startsWith("/")) return path;
  console.error(`${compiler} has no ${name}; use g++ on Linux`);
  process.exit(1);
}

const libraries = ["libasan.so", "libubsan.so"].map(runtimeLibrary);

// Make a package of its own, because the addon is found relative to the package. Compiled files stay.
mkdirSync(copy, { recursive: true });
for (const part of ["binding.gyp", "package.json", "native", "dist", join("test", "golden")]) {
  rmSync(join(copy, part), { recursive: true, force: true });
  cpSync(join(root, part), join(copy, part), { recursive: true, preserveTimestamps: true });
}
rmSync(join(copy, "vendor"), { force: true });
symlinkSync(join(root, "vendor"), join(copy, "vendor"));

const flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1";
must(process.execPath, ["native/install.mjs"], { CXXFLAGS: flags, LDFLAGS: flags });

const named = process.argv.slice(2);
const folder = (name) =>
  readdirSync(join(copy, "dist", "test", name))
    .filter((file) => file.endsWith(".test.js"))
    .map((file) => join(name, file.replace(".test.js", "")));
const tests = named.length > 0 ? named : [...folder("cpu"), ...folder("nn"), "quantize", "array", "io"];
must(process.execPath, ["--test", ...tests.map((name) => join("dist", "test", `${name}.test.js`))], {
  LD_PRELOAD: libraries.join(" "),
  // Node frees little when it exits.
  ASAN_OPTIONS: "detect_leaks=0",
  UBSAN_OPTIONS: "print_stacktrace=1",
});
