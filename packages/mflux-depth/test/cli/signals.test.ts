import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { constants } from "node:os";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bin, CommandLine } from "../support/command-line.js";
import { makePipe } from "../support/pipes.js";
import { until } from "../support/waiting.js";

const { at } = new CommandLine();
const posix = { skip: process.platform === "win32" && "Windows has no signals" };
const signals = new URL("../../src/cli/signals.js", import.meta.url).href;
const temporary = new URL("../../src/files/temporary.js", import.meta.url).href;

type Signal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** A process that listens to signals like the command line, and says "ready" before `work`. */
class Listening {
  readonly #child: ChildProcessWithoutNullStreams;
  #said = "";

  constructor(work: string, { cwd = "." }: { cwd?: string } = {}) {
    const source = `
      import { mkdirSync } from "node:fs";
      import { listenToSignals } from ${JSON.stringify(signals)};
      import { withTemporary } from ${JSON.stringify(temporary)};
      const { signal, finish } = listenToSignals();
      const ready = () => process.stdout.write("ready\\n");
      const forever = () => new Promise(() => setInterval(() => {}, 1000));
      ${work}`;
    // One core is enough to keep an evaluation busy; the other tests need the rest.
    const env = { ...process.env, MFLUX_DEPTH_THREADS: "1" };
    this.#child = spawn(process.execPath, ["--input-type=module", "--eval", source], { cwd, env });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#said += text;
      });
  }

  async ready(): Promise<void> {
    await until(() => this.#said.includes("ready"));
    // Let it begin what it announced.
    await sleep(50);
  }

  send(signal: Signal): void {
    this.#child.kill(signal);
  }

  async stopping(): Promise<void> {
    await until(() => this.#said.includes("Stopping …"));
  }

  /** Sends a signal and waits for the end. @returns the exit code and the milliseconds that it took. */
  async end(signal: Signal): Promise<{ code: number | null; milliseconds: number }> {
    const began = performance.now();
    this.send(signal);
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    const [code] = await once(this.#child, "close");
    clearTimeout(late);
    return { code, milliseconds: performance.now() - began };
  }
}

const pipe = at("pipe");
/** Blocks a thread of Node's pool: it reads a pipe that has no writer. A process that exits normally waits for the thread. */
const blockThread = `
    const { readFile } = await import("node:fs");
    readFile(${JSON.stringify(pipe)}, (error) => {
      throw error ?? new Error("the pipe has ended");
    });`;

/** Reasons for a process not to end. */
const works = {
  "a blocked event loop": "ready(); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
  "a native evaluation on the event loop": `
    const { evaluateSync, full, matmul } = await import("@mflux-depth/mlx");
    const matrix = full([8192, 8192], 1);
    ready();
    for (;;) evaluateSync(matmul(matrix, matrix));`,
  "a native evaluation on another thread, without its abort": `
    const { evaluate, full, matmul } = await import("@mflux-depth/mlx");
    const matrix = full([8192, 8192], 1);
    ready();
    for (;;) await evaluate(matmul(matrix, matrix));`,
  "a blocked thread that process.exit would wait for": `
    ${blockThread}
    ready();
    await forever();`,
};

before(() => {
  if (!posix.skip) makePipe(pipe);
});

/** Asserts that a process ends with a signal's exit code, within a second of the signal. */
async function endsWithinSecond(work: string, signal: Signal): Promise<void> {
  const listening = new Listening(work);
  await listening.ready();
  const { code, milliseconds } = await listening.end(signal);
  assert.equal(code, 128 + constants.signals[signal]);
  assert.ok(milliseconds < 1000, `${milliseconds} ms`);
}

// One test only, because the loop takes a core from the other tests.
test("a process that runs JavaScript without end ends within a second of SIGTERM", posix, () =>
  endsWithinSecond("ready(); for (;;);", "SIGTERM"),
);

for (const [name, work] of Object.entries(works))
  describe(`a process with ${name}`, posix, () => {
    for (const signal of ["SIGTERM", "SIGHUP"] as const)
      test(`ends within a second of ${signal}`, () => endsWithinSecond(work, signal));

    test("continues after one Ctrl-C, and ends within a second of another", async () => {
      const listening = new Listening(work);
      await listening.ready();
      listening.send("SIGINT");
      await sleep(1200);
      const { code, milliseconds } = await listening.end("SIGINT");
      assert.equal(code, 130);
      assert.ok(milliseconds < 1000, `${milliseconds} ms`);
    });
  });

describe("a command that has stopped", posix, () => {
  test("does not wait for blocked threads", async () => {
    const listening = new Listening(`
      ${blockThread}
      ready();
      const alive = setInterval(() => {}, 1000);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      finish(signal.reason.exitCode);`);
    await listening.ready();
    const { code, milliseconds } = await listening.end("SIGINT");
    assert.equal(code, 130);
    assert.ok(milliseconds < 1000, `${milliseconds} ms`);
  });

  test("leaves signals to others once it has finished without one", async () => {
    const listening = new Listening("finish(0); ready(); await forever();");
    await listening.ready();
    assert.equal((await listening.end("SIGINT")).code, null);
  });
});

describe("a temporary folder", posix, () => {
  const writing = `await withTemporary("x", async (folder) => {
    mkdirSync(folder);
    ready();
    await forever();
  });`;

  for (const signal of ["SIGTERM", "SIGHUP"] as const)
    test(`is gone after ${signal}`, async () => {
      await mkdir(at(signal));
      const listening = new Listening(writing, { cwd: at(signal) });
      await listening.ready();
      assert.equal((await readdir(at(signal))).length, 1);
      await listening.end(signal);
      assert.deepEqual(await readdir(at(signal)), []);
    });

  test("is gone after two quick Ctrl-Cs", async () => {
    await mkdir(at("quick"));
    const listening = new Listening(writing, { cwd: at("quick") });
    await listening.ready();
    listening.send("SIGINT");
    await listening.stopping();
    assert.equal((await listening.end("SIGINT")).code, 130);
    assert.deepEqual(await readdir(at("quick")), []);
  });
});

describe("save", posix, () => {
  const saving = ["save", "-m", "tiny-world", "-q", "4", "--path", "model"];
  const cases: readonly [name: string, sent: readonly Signal[], code: number][] = [
    ["one SIGTERM", ["SIGTERM"], 143],
    ["one SIGHUP", ["SIGHUP"], 129],
    ["two quick Ctrl-Cs", ["SIGINT", "SIGINT"], 130],
  ];
  for (const [name, sent, code] of cases)
    test(`leaves nothing after ${name}`, async () => {
      const here = at(name.replaceAll(" ", "-"));
      await mkdir(here);
      const child = spawn(process.execPath, [bin, ...saving], { cwd: here });
      const ended = once(child, "close");
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        if (!stderr.includes("writing") && text.includes("writing"))
          for (const signal of sent) child.kill(signal);
        stderr += text;
      });
      const [ending] = await ended;
      // On a busy machine the signal may come when the folder is complete.
      if (existsSync(`${here}/model`)) assert.deepEqual(await readdir(here), ["model"]);
      else assert.deepEqual([ending, await readdir(here)], [code, []], stderr);
    });
});
