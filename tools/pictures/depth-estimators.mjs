/*
 * Draws docs/images/depth-estimators.jpg: example pictures, and their depth by both bundled estimators below.
 *
 *     npx tsc -b && node tools/pictures/depth-estimators.mjs docs/images/depth-estimators.jpg
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, parse } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

const pictures = ["cube.png", "portrait.png", "mountains.png", "room.png", "astronaut.jpg", "coffee.jpg"];
const estimators = ["tiny-world", "tiny-depth-anything"];
const [side, gap] = [176, 4];

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const command = at("packages/mflux-depth/bin/mflux-depth.js");

/** The paths of the depth maps of all pictures. */
function mapsBy(estimator, folder) {
  const output = join(folder, estimator);
  const paths = pictures.map((name) => at(`examples/images/${name}`));
  execFileSync(process.execPath, [
    command,
    "depth",
    "--depth-model",
    estimator,
    ...paths,
    "--output",
    output,
  ]);
  return pictures.map((name) => join(output, `${parse(name).name}_depth.png`));
}

const folder = mkdtempSync(join(tmpdir(), "depth-estimators-"));
try {
  const rows = [
    pictures.map((name) => at(`examples/images/${name}`)),
    ...estimators.map((estimator) => mapsBy(estimator, folder)),
  ];
  const cells = rows.flatMap((row, y) =>
    row.map(async (path, x) => ({
      input: await sharp(path).resize(side, side).toColourspace("srgb").png().toBuffer(),
      left: x * (side + gap),
      top: y * (side + gap),
    })),
  );
  const [width, height] = [pictures.length, rows.length].map((count) => count * (side + gap) - gap);
  await sharp({ create: { width, height, channels: 3, background: "white" } })
    .composite(await Promise.all(cells))
    .jpeg({ quality: 86, mozjpeg: true })
    .toFile(process.argv[2]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
