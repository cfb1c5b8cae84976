import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** Below this share of its memory left, a machine begins to swap or to end processes. */
const leastShare = 0.05;

/**
 * Whether the system is short of memory, so that weights nobody uses had better go. macOS says so itself; on Linux
 * it is little available memory, of the machine or of the control group. Elsewhere unknown: false.
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
  const shares = await Promise.all([machineShare(), groupShare()]);
  return Math.min(...shares) < leastShare;
}

async function machineShare(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, "m").exec(text)?.[1]);
  return kilobytes("MemAvailable") / kilobytes("MemTotal");
}

/** Of the control group's limit, what is free or holds files that can be read again. */
async function groupShare(): Promise<number> {
  const read = (name: string): Promise<string> => readFile(`/sys/fs/cgroup/${name}`, "utf8");
  try {
    const [limit, used, stat] = await Promise.all([
      read("memory.max"),
      read("memory.current"),
      read("memory.stat"),
    ]);
    if (limit.trim() === "max") return 1;
    const files = Number(/^inactive_file (\d+)/m.exec(stat)?.[1] ?? 0);
    return 1 - (Number(used) - files) / Number(limit);
  } catch {
    // No control group of the second version, or none with a limit.
    return 1;
  }
}
