import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** The resident memory of a process, in bytes; 0 if it has ended. */
export async function residentMemory(pid: number): Promise<number> {
  try {
    return process.platform === "linux" ? await fromStatus(pid) : await fromPs(pid);
  } catch {
    return 0;
  }
}

async function fromStatus(pid: number): Promise<number> {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1] ?? 0) * 1024;
}

async function fromPs(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)("ps", ["-o", "rss=", "-p", `${pid}`]);
  return Number(stdout) * 1024;
}
