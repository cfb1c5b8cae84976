import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { controlGroup } from "./control-group.js";

/** Below this share of available memory, a machine begins to swap or to kill processes. */
const lowShare = 0.05;

/**
 * Whether the system is short of memory, so that idle weights should be freed. macOS reports memory pressure itself.
 * Linux is short when the machine or this process's control group has little memory available. On other systems the
 * answer is always false.
 */
export async function shortOfMemory(): Promise<boolean> {
  if (process.platform === "darwin") {
    const { stdout } = await promisify(execFile)("/usr/sbin/sysctl", [
      "-n",
      "kern.memorystatus_vm_pressure_level",
    ]);
    // 1 means normal, 2 warning, 4 critical.
    return Number(stdout) > 1;
  }
  if (process.platform !== "linux") return false;
  return Math.min(await machineShare(), groupShare()) < lowShare;
}

/** The share of the machine's memory that is available. */
async function machineShare(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(text)?.[1]);
  return kilobytes("MemAvailable") / kilobytes("MemTotal");
}

/** The share of the control group's limit that is left; 1 without a limit. */
function groupShare(): number {
  const group = controlGroup();
  return group ? group.free / group.limit : 1;
}
