// Packs the output of install.mjs into a platform package: `node native/pack.mjs FOLDER` fills FOLDER/mlx-PLATFORM-ARCH
// with the addons, the libraries and their licences, ready for `npm pack` or `npm publish`, and prints its path. With
// the package installed, @mflux-depth/mlx needs neither Python nor a compiler.
//
// On macOS the package runs on the version that the fetched MLX wheel is for, and on newer ones.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vendor = join(root, "vendor");

function fail(message) {
  console.error(message);
  process.exit(1);
}

const output = process.argv[2];
if (!output) fail("usage: node native/pack.mjs FOLDER");
const stamp = join(vendor, "stamp");
const addons = ["mlx.node", "exit_guard.node"].map((addon) => join("build", "Release", addon));
if (![stamp, join(vendor, "mlx"), ...addons.map((addon) => join(root, addon))].every(existsSync))
  fail("nothing to pack: build first with `node native/install.mjs`, without MLX_ROOT.");
// NVIDIA's libraries, which MLX needs there, take gigabytes.
if (readFileSync(stamp, "utf8").includes("cuda"))
  fail("CUDA backends cannot be packed: build them on the machine that runs them.");

const { name, version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const platform = `${process.platform}-${process.arch}`;
const folder = join(resolve(output), `mlx-${platform}`);
rmSync(folder, { recursive: true, force: true });
mkdirSync(join(folder, "licenses"), { recursive: true });

// Keep the folder structure: the addon and MLX find their libraries by relative paths.
const libraries = readdirSync(vendor, { recursive: true }).filter((path) =>
  /\.(so(\.[\d.]+)?|dylib|metallib)$/.test(path),
);
for (const path of [...libraries.map((library) => join("vendor", library)), ...addons])
  cpSync(join(root, path), join(folder, path), { dereference: true });

for (const distribution of readdirSync(vendor).filter((entry) => entry.endsWith(".dist-info")))
  for (const file of readdirSync(join(vendor, distribution, "licenses"), { recursive: true }))
    cpSync(
      join(vendor, distribution, "licenses", file),
      join(folder, "licenses", `${distribution.split("-")[0]}-${file.replaceAll("/", "-")}`),
    );
cpSync(join(root, "NOTICE"), join(folder, "NOTICE"));

const manifest = {
  name: `${name}-${platform}`,
  version,
  description: `MLX and the addon of ${name} for ${platform}`,
  license,
  os: [process.platform],
  cpu: [process.arch],
  ...(process.platform === "linux" ? { libc: ["glibc"] } : {}),
  main: "build/Release/mlx.node",
  files: ["build", "vendor", "licenses", "NOTICE"],
};
writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
console.log(folder);
