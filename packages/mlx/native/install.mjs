// Builds the addon on this machine: fetches MLX (and OpenBLAS on Linux) with pip and compiles with node-gyp.
// Does nothing if a platform package provides the addon.
//
// MFLUX_DEPTH_BACKEND  cpu (default on Linux), cuda12, cuda13, metal (macOS)
// MLX_ROOT             a folder with include/ and lib/ of another MLX, used instead of the fetched one
// PYTHON, CXX          the Python and the compiler to use
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { release } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vendor = join(root, "vendor");
const require = createRequire(import.meta.url);

// The Python version of the wheels. They contain no Python code, so the pip of an older Python can unpack them.
const WHEEL_PYTHON = "3.12";
const GLIBC = [2, 35];
// The oldest Python that node-gyp's build files (gyp-next) run on.
const PYTHON = [3, 8];

class Obstacle extends Error {
  constructor(problem, fix) {
    super(`${problem}\n  To fix it: ${fix}`);
  }
}

const log = (line) => console.log(`@mflux-depth/mlx: ${line}`);

function run(command, args, options = {}) {
  return spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, ...options });
}

const older = (found, needed) => {
  const i = needed.findIndex((n, at) => n !== (found[at] ?? 0));
  return i >= 0 && (found[i] ?? 0) < needed[i];
};

const numbers = (version) => version.split(".").map((part) => Number.parseInt(part, 10) || 0);

/** Chooses the wheels for this machine. */
function chooseBackend() {
  const platform = `${process.platform}-${process.arch}`;
  if (!["linux-x64", "linux-arm64", "darwin-arm64"].includes(platform))
    throw new Obstacle(
      `there is no MLX for ${platform}`,
      "use Linux on x86-64 or arm64, or a Mac with Apple silicon (on Windows: WSL).",
    );
  const offered = process.platform === "darwin" ? ["metal"] : ["cpu", "cuda12", "cuda13"];
  const backend = process.env.MFLUX_DEPTH_BACKEND || offered[0];
  if (!offered.includes(backend))
    throw new Obstacle(
      `MFLUX_DEPTH_BACKEND is "${backend}", which ${platform} does not support`,
      `set it to one of ${offered.join(", ")}, or leave it unset.`,
    );
  return backend;
}

function checkSystem() {
  if (process.platform === "darwin") {
    if (Number(release().split(".")[0]) < 23)
      throw new Obstacle("MLX needs macOS 14 or newer", "update macOS.");
    return;
  }
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  if (!glibc)
    throw new Obstacle(
      "this Linux has no glibc (Alpine, for example), and MLX's wheels need it",
      "use a distribution with glibc 2.35 or newer: Debian 12, Ubuntu 22.04, Fedora 36; in Docker, node:20-bookworm.",
    );
  if (older(numbers(glibc), GLIBC))
    throw new Obstacle(
      `MLX's wheels need glibc ${GLIBC.join(".")}; this system has ${glibc}`,
      "use a newer distribution: Debian 12, Ubuntu 22.04, Fedora 36; or build MLX yourself and set MLX_ROOT.",
    );
}

/** Finds Python, which node-gyp needs as well. */
function findPython() {
  const named = process.env.PYTHON || process.env.npm_config_python;
  const candidates = named ? [named] : ["python3", "python"];
  for (const python of candidates) {
    const { status, stdout } = run(python, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    if (status !== 0) continue;
    if (older(numbers(stdout.trim()), PYTHON))
      throw new Obstacle(
        `${python} is Python ${stdout.trim()}; ${PYTHON.join(".")} or newer is needed`,
        "install a newer Python and name it in the environment variable PYTHON.",
      );
    return python;
  }
  throw new Obstacle(
    `no Python found (tried ${candidates.join(", ")}); it fetches MLX and drives the compiler, and is not used at run time`,
    process.platform === "darwin"
      ? "xcode-select --install, or brew install python."
      : "apt install python3 python3-pip, or dnf install python3 python3-pip; or name one in PYTHON.",
  );
}

function checkPip(python) {
  const { status, stdout } = run(python, ["-m", "pip", "--version"]);
  if (status !== 0)
    throw new Obstacle(
      `${python} has no pip`,
      `${python} -m ensurepip, or apt install python3-pip, or dnf install python3-pip.`,
    );
  const version = stdout.split(/\s+/)[1] ?? "";
  if (older(numbers(version), [20, 3]))
    throw new Obstacle(
      `pip ${version} does not support the wheels of this platform; 20.3 or newer is needed`,
      `${python} -m pip install --upgrade pip.`,
    );
}

/** Arguments that name this platform where pip's own choice would be wrong. */
function platformArguments() {
  if (process.platform !== "darwin") return [];
  const version = run("sw_vers", ["-productVersion"]).stdout?.trim() ?? "";
  // The wheel tagged macOS 26.0 contains a library built for 26.2.
  const before = numbers(version)[0] === 26 && older(numbers(version), [26, 2]);
  return before ? ["--platform", "macosx_15_0_arm64"] : [];
}

/** Makes vendor/ match the requirements. */
function fetchLibraries(backend, python) {
  const lists = [];
  if (!process.env.MLX_ROOT) lists.push(backend);
  if (process.platform === "linux") lists.push("openblas");
  if (lists.length === 0) return;
  const files = lists.map((name) => join(root, "native", "requirements", `${name}.txt`));
  const platform = platformArguments();
  const wanted = createHash("sha256");
  for (const file of files) wanted.update(readFileSync(file));
  const stamp = `${process.platform}-${process.arch} ${lists.join(" ")} ${platform.join(" ")} ${wanted.digest("hex")}\n`;
  const stampFile = join(vendor, "stamp");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;

  checkPip(python);
  log(`fetching MLX (${lists.join(", ")})`);
  const partial = `${vendor}.${process.pid}.partial`;
  mkdirSync(partial);
  try {
    const options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-compile", "--no-input"];
    const { status, stdout, stderr } = run(
      python,
      [
        "-m",
        "pip",
        "install",
        ...options,
        "--python-version",
        WHEEL_PYTHON,
        ...platform,
        "--target",
        partial,
      ].concat(files.flatMap((file) => ["-r", file])),
      {
        env: {
          ...process.env,
          PIP_USER: "0",
          PIP_REQUIRE_VIRTUALENV: "0",
          PIP_DISABLE_PIP_VERSION_CHECK: "1",
        },
      },
    );
    if (status !== 0) throw pipFailure(`${stdout}${stderr}`);
    writeFileSync(join(partial, "stamp"), stamp);
    rmSync(vendor, { recursive: true, force: true });
    renameSync(partial, vendor);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function pipFailure(output) {
  const tail = output.trim().split("\n").slice(-6).join("\n    ");
  const said = `; pip said:\n    ${tail}`;
  if (
    /ConnectionError|ConnectTimeout|ReadTimeout|name resolution|Retrying|ProxyError|SSLError|certificate/i.test(
      output,
    )
  )
    return new Obstacle(
      `cannot reach the package index${said}`,
      "check the network and its proxy (HTTPS_PROXY, pip config), or set MLX_ROOT to an MLX on this machine.",
    );
  if (/DO NOT MATCH THE HASHES/i.test(output))
    return new Obstacle(
      `a downloaded wheel differs from the pinned one${said}`,
      "clear pip's cache (python3 -m pip cache purge) and try again; if the error persists, do not install it.",
    );
  if (/No matching distribution/i.test(output))
    return new Obstacle(
      `the package index has no MLX wheel for this platform${said}`,
      "upgrade pip (python3 -m pip install --upgrade pip), or build MLX yourself and set MLX_ROOT.",
    );
  if (/No space left/i.test(output))
    return new Obstacle(
      `the disk is full${said}`,
      "free some space (the CUDA libraries take several gigabytes).",
    );
  return new Obstacle(`pip failed${said}`, "see pip's message.");
}

function checkCompiler() {
  const mac = process.platform === "darwin";
  const install = mac ? "xcode-select --install." : "apt install g++ make, or dnf install gcc-c++ make.";
  if (run("make", ["--version"]).status !== 0) throw new Obstacle("make was not found", install);
  const compiler = process.env.CXX || (mac ? "c++" : "g++");
  if (run(`${compiler} --version`, [], { shell: true }).status !== 0)
    throw new Obstacle(`no C++ compiler (${compiler}) was found`, install);
  const trial =
    "#include <concepts>\n#include <span>\n#include <ranges>\ntemplate <std::integral T> T f(T x) { return x; }\n";
  if (run(`${compiler} -std=c++20 -fsyntax-only -x c++ -`, [], { shell: true, input: trial }).status !== 0)
    throw new Obstacle(
      `${compiler} does not compile C++20`,
      mac
        ? "update the command line tools (softwareupdate --list)."
        : "install g++ 11 or newer, and name it in CXX.",
    );
}

function compile(python) {
  checkCompiler();
  const mlx = process.env.MLX_ROOT ? resolve(process.env.MLX_ROOT) : undefined;
  if (mlx && !existsSync(join(mlx, "include", "mlx", "mlx.h")))
    throw new Obstacle(
      `MLX_ROOT (${mlx}) has no include/mlx/mlx.h`,
      "point it at the folder with include/ and lib/.",
    );
  // Most Node installations include the headers, which saves the download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, "include", "node", "node_api.h"));
  const args = [
    require.resolve("node-gyp/bin/node-gyp.js"),
    ...["configure", "build", "--release", "--jobs", "max", "--loglevel", "warn", "--python", python],
    ...(headers && !process.env.npm_config_nodedir ? ["--nodedir", prefix] : []),
    ...(mlx ? ["--", `-Dmlx_root=${mlx}`, "-Dmlx_elsewhere=1"] : []),
  ];
  log("compiling the addon");
  const { status } = run(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Obstacle("the addon did not compile", "see the compiler's message above.");
}

function platformPackageInstalled() {
  if (process.env.MFLUX_DEPTH_BACKEND?.startsWith("cuda")) return false;
  try {
    require.resolve(`@mflux-depth/mlx-${process.platform}-${process.arch}/package.json`);
    return true;
  } catch {
    return false;
  }
}

try {
  if (!platformPackageInstalled()) {
    const backend = chooseBackend();
    checkSystem();
    const python = findPython();
    fetchLibraries(backend, python);
    compile(python);
  }
} catch (error) {
  if (!(error instanceof Obstacle)) throw error;
  console.error(`@mflux-depth/mlx cannot be installed: ${error.message}`);
  process.exitCode = 1;
}
