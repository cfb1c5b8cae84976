/*
 * The memory limits of control groups. packages/mlx/native/cgroup.h reads the same files for the allocator, which needs
 * the limit before any JavaScript runs. This file cannot ask it: processes without MLX also plan and watch memory, and
 * they need the memory that is left under each limit. Both follow the same rule: the tightest group from the process's
 * own to the root counts, in version 1 and 2.
 */
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";

/** The tightest memory limit that a control group sets for this process, in bytes. */
interface ControlGroup {
  readonly limit: number;
  /** Bytes left under the limit. File caches, which the system can drop, count as free. */
  readonly free: number;
}

/** Version 2 has a single hierarchy, version 1 one for each controller. Their files have different names. */
const hierarchies = {
  unified: {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    fileCache: "inactive_file",
  },
  memoryController: {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    fileCache: "total_inactive_file",
  },
} as const;

type Hierarchy = (typeof hierarchies)[keyof typeof hierarchies];

/**
 * Reads the control groups around this process, from its own group up to the root.
 * @param root the folder that contains /proc and /sys; tests pass their own.
 * @returns the group with the least memory left; null if memory is unlimited or the system has no control groups.
 */
export function controlGroup(root = ""): ControlGroup | null {
  let tightest: ControlGroup | null = null;
  for (const { hierarchy, path } of groupsOfProcess(root)) {
    const names = path.split("/").filter((name) => name !== "");
    // In a container, the container's own group is the root.
    for (let depth = names.length; depth >= 0; depth--) {
      const group = readGroup(hierarchy, [root + hierarchy.root, ...names.slice(0, depth)].join("/"));
      if (group && (!tightest || group.free < tightest.free)) tightest = group;
    }
  }
  return tightest;
}

/** Reads the lines of /proc/self/cgroup that concern memory: "0::/path" in version 2, "4:memory:/path" in version 1. */
function groupsOfProcess(root: string): { hierarchy: Hierarchy; path: string }[] {
  const groups: { hierarchy: Hierarchy; path: string }[] = [];
  for (const [, controllers, path] of readText(`${root}/proc/self/cgroup`).matchAll(/^\d+:([^:]*):(.*)$/gm)) {
    if (controllers === "") groups.push({ hierarchy: hierarchies.unified, path: path! });
    else if (controllers!.split(",").includes("memory"))
      groups.push({ hierarchy: hierarchies.memoryController, path: path! });
  }
  return groups;
}

function readGroup(names: Hierarchy, folder: string): ControlGroup | null {
  const limit = Number(readText(`${folder}/${names.limit}`) || Number.NaN);
  // "max", and the huge numbers of version 1, mean unlimited.
  if (!(limit > 0) || limit >= totalmem()) return null;
  const fileCache = new RegExp(`^${names.fileCache} (\\d+)`, "m").exec(
    readText(`${folder}/memory.stat`),
  )?.[1];
  const used = Number(readText(`${folder}/${names.usage}`)) - Number(fileCache ?? 0);
  return { limit, free: Math.max(0, limit - used) };
}

/** Reads a file; "" if the system does not have it. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
