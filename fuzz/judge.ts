import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { FuzzCase, Limits } from "./area.js";

/** The outcome of a case. */
export interface Verdict {
  /** The failure in one sentence; null if the case was accepted or properly refused. */
  readonly failure: string | null;
  /** Whether the input was accepted. */
  readonly accepted?: boolean;
  /** The message of the refusal. */
  readonly refusal?: string;
}

const pollMs = 50;

/** Runs the cases of an area in a process, and replaces the process when a case exceeds its limits or ends it. */
export class Judge implements Disposable {
  readonly #area: string;
  readonly #folder: string;
  readonly #limits: Limits;
  #child: ChildProcess | null = null;

  /** @param folder a scratch folder for this judge only. */
  constructor(area: string, folder: string, limits: Limits) {
    this.#area = area;
    this.#folder = folder;
    this.#limits = limits;
  }

  async judge(fuzzCase: FuzzCase): Promise<Verdict> {
    this.#child ??= await this.#start();
    const child = this.#child;
    let timers: NodeJS.Timeout[] = [];
    try {
      return await new Promise<Verdict>((resolve) => {
        const kill = (failure: string): void => {
          resolve({ failure });
          child.kill("SIGKILL");
        };
        const { seconds, bytes } = this.#limits;
        timers = [
          setTimeout(() => kill(`it takes longer than ${seconds} s`), seconds * 1000),
          setInterval(() => {
            if (treeBytes(child.pid!) > bytes) kill(`it takes more than ${bytes / 1e9} GB of memory`);
          }, pollMs),
        ];
        child.once("message", resolve);
        child.once("exit", (code, signal) => {
          this.#child = null;
          resolve({ failure: `the process ends with ${signal ?? `exit code ${code}`}` });
        });
        child.send(fuzzCase);
      });
    } finally {
      for (const timer of timers) clearTimeout(timer);
      child.removeAllListeners("message");
      child.removeAllListeners("exit");
      if (child.killed || child.exitCode !== null) this.#child = null;
    }
  }

  [Symbol.dispose](): void {
    this.#child?.kill("SIGKILL");
  }

  async #start(): Promise<ChildProcess> {
    const child = fork(fileURLToPath(new URL("./executor.js", import.meta.url)), [this.#area, this.#folder], {
      serialization: "advanced",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      env: { ...process.env, HF_HUB_OFFLINE: "1", HF_HOME: this.#folder },
    });
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) =>
        reject(new Error(`the process of ${this.#area} does not start (${code})`)),
      );
    });
    child.removeAllListeners("exit");
    return child;
  }
}

/** Resident memory of a process and its children; 0 on systems without /proc. */
function treeBytes(pid: number): number {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return pages * 4096 + children.reduce((sum, one) => sum + (one === "" ? 0 : treeBytes(Number(one))), 0);
  } catch {
    return 0;
  }
}
