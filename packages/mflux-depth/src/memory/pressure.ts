import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { controlGroup } from "./control-group.js";

/** With less than this share of its memory left, a machine begins to swap or to end processes. */
const lowShare = 0.05;

/**
 * Tells whether the system is short of memory, so that idle weights should be released. macOS reports memory pressure
 * itself; Linux is short when little memory is available to the machine or to this process's control group. Other
 * systems never report a shortage.
 */
export async function shortOfMemory(): Promise<boolean> {
  if (process.platform === "darwin") {
    const { stdout } = await promisify(execFile)("/usr/sbin/sysctl", [
      "-n",
      "kern.memorystatus_vm_pressure_level",
    ]);
    // 1 is normal, 2 a warning, 4 critical.
    return Number(stdout) > 1;
  }
  if (process.platform !== "linux") return false;
  return Math.min(await machineShare(), groupShare()) < lowShare;
}

async function machineShare(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(text)?.[1]);
  return kilobytes("MemAvailable") / kilobytes("MemTotal");
}

function groupShare(): number {
  const group = controlGroup();
  return group ? group.free / group.limit : 1;
}
