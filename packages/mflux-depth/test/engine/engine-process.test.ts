import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine, EngineError } from "../../src/engine/index.js";
import { isAlive, job, when } from "../support/engine.js";
import { at } from "../support/tensors.js";

describe("a killed process", () => {
  const engine = new Engine();
  after(() => engine.close());

  test("costs only the job that it ran", async () => {
    const { onEvent, seen } = when((event) => event.type === "step");
    const killed = engine.generate(job({ steps: 50 }), { onEvent });
    const rejected = assert.rejects(
      killed,
      (error) =>
        error instanceof EngineError &&
        /SIGKILL/.test(error.message) &&
        /The next job starts a new one/.test(error.message),
    );
    const waiting = engine.generate(job());
    await seen;
    process.kill(engine.pid!, "SIGKILL");
    await rejected;
    assert.equal((await waiting).seed, 7);
  });

  test("costs no job between jobs", async () => {
    await engine.generate(job());
    const pid = engine.pid!;
    process.kill(pid, "SIGKILL");
    assert.equal((await engine.generate(job())).seed, 7);
    assert.notEqual(engine.pid, pid);
  });
});

describe("a killed owner leaves no processes behind, and they exit quietly", () => {
  const host = at("dist/src/engine/host.js");
  const image = at("../../examples/images/chelsea.jpg");
  const long = { depthImage: null, image, steps: 50, width: 1024, height: 1024 };
  const message = { type: "generate", id: 1, job: job(long) };
  /** Seconds; a process that stays would work for minutes. */
  const deadline = 30;
  /** Makes a process compute without end from the moment that its channel closes. */
  const blocks = "data:text/javascript,process.on('disconnect', () => { for (;;); })";

  for (const [moment, title, execArgv = []] of [
    ["sent", "before the process listens"],
    ["started", "while it starts"],
    ["load", "while it reports what it reads"],
    ["step", "between steps"],
    ["load", "while its event loop is blocked", ["--import", blocks]],
  ] as const)
    test(title, async () => {
      const owner = `
        const { fork } = await import("node:child_process");
        const stdio = ["ignore", 2, 2, "ipc"];
        const execArgv = ${JSON.stringify(execArgv)};
        const child = fork(${JSON.stringify(host)}, { serialization: "advanced", stdio, execArgv });
        const die = () => {
          // The process must not hear of its owner's end before its next action.
          if ("${moment}" === "step") process.kill(child.pid, "SIGSTOP");
          process.kill(process.pid, "SIGKILL");
        };
        process.stdout.write(String(child.pid));
        child.on("message", ({ event }) => event?.type === "${moment}" && die());
        child.send(${JSON.stringify(message)}, () => "${moment}" === "sent" && die());`;
      const child = spawn(process.execPath, ["--input-type=module", "-e", owner], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      let said = "";
      child.stderr.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      // Standard error closes once neither the owner nor the process it started holds it.
      const closed = once(child.stderr, "close");
      const [[pid]] = await Promise.all([once(child.stdout, "data"), once(child, "exit")]);
      if (moment === "step") process.kill(Number(pid), "SIGCONT");
      const ended = await Promise.race([
        closed.then(() => true),
        sleep(deadline * 1000, false, { ref: false }),
      ]);
      if (!ended) process.kill(Number(pid), "SIGKILL");
      assert.ok(ended, `it still runs after ${deadline} s`);
      assert.deepEqual([child.signalCode, said], ["SIGKILL", ""]);
    });
});

test("a process that does not hear a cancel is killed", async () => {
  const engine = new Engine({ cancelSeconds: 0.2 });
  const controller = new AbortController();
  const { onEvent, seen } = when((event) => event.type === "stage");
  const running = assert.rejects(
    engine.generate(job({ steps: 50 }), { signal: controller.signal, onEvent }),
    /enough/,
  );
  await seen;
  const stopped = engine.pid!;
  process.kill(stopped, "SIGSTOP");
  controller.abort(new Error("enough"));
  await running;
  assert.ok(!isAlive(stopped));
  await engine.close();
});

test("a process that cannot start is reported for every job", async () => {
  const engine = new Engine({ env: { ...process.env, NODE_OPTIONS: "--import=file:///no/such/module.js" } });
  for (let i = 0; i < 2; i++)
    await assert.rejects(
      engine.generate(job()),
      (error) => error instanceof EngineError && /could not be started/.test(error.message),
    );
  await engine.close();
});
