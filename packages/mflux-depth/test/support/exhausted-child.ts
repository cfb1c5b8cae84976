/*
 * A program that has no free file descriptors while it asks for processes. Prints each error's name and message as a line.
 */
import { closeSync, openSync } from "node:fs";
import sharp from "sharp";
import { downloadModel, Engine } from "../../src/engine/index.js";
import { readPhoto } from "../../src/images/decode.js";

const large = await sharp({ create: { width: 3000, height: 2000, channels: 3, background: "red" } })
  .jpeg()
  .toBuffer();
const engine = new Engine();
const attempts = [
  () => readPhoto(large),
  () => engine.generate({ load: { model: "tiny-world" }, request: { prompt: "a cube", depthImage: large } }),
  () => engine.estimateDepth({ load: { model: "tiny-world" }, photo: large }),
  () => downloadModel({ source: { model: "owner/name" }, purpose: "generation" }),
];
// Loads what is loaded when it is first used.
await readPhoto(large);

const files: number[] = [];
try {
  for (;;) files.push(openSync("/dev/null", "r"));
} catch {
  // None is left.
}
const lines: string[] = [];
for (const attempt of attempts)
  await attempt().then(
    () => lines.push("it worked"),
    ({ name, message }: Error) => lines.push(`${name}: ${message}`),
  );
for (const file of files) closeSync(file);
await engine.close();
console.log(lines.join("\n"));
