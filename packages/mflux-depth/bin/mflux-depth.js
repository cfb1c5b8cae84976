#!/usr/bin/env node
import { existsSync } from "node:fs";

const [major, minor] = process.versions.node.split(".").map(Number);
const program = new URL("../dist/src/cli/main.js", import.meta.url);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`mflux-depth needs Node.js 20.19 or newer; this is ${process.versions.node}.`);
  process.exitCode = 1;
} else if (!existsSync(program)) {
  console.error("mflux-depth is not built: run `npm ci` in the root of its repository.");
  process.exitCode = 1;
} else {
  const { runProcess } = await import(program.href);
  await runProcess();
}
