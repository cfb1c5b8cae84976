import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDurably } from "./durable-file.js";

const secretBytes = 32;

/**
 * The server's secret, created at its first start and kept in the data folder, readable by this user only. The folder
 * is locked by then, so no other process creates one at the same time.
 */
export async function sessionSecret(folder: string): Promise<Uint8Array> {
  const path = join(folder, "session-key");
  const known = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (known?.length === secretBytes) return known;
  const secret = randomBytes(secretBytes);
  await writeDurably(path, [secret]);
  return secret;
}
