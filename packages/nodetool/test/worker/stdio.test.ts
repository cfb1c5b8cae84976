import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { pack } from "msgpackr";
import { definition } from "../../src/definition.js";
import {
  cli,
  type Data,
  engineOf,
  examples,
  execution,
  isRunning,
  PipeHost,
  steps,
  until,
} from "../support/host.js";

const run = promisify(execFile);
const map = await readFile(new URL("room_depth.png", examples));
const started = performance.now();
const host = await PipeHost.start();
const readyAfter = performance.now() - started;
after(() => host.child.kill());

test("the executable, started like NodeTool's worker, is ready in time and answers", async () => {
  // NodeTool gives up after 20 s.
  assert.ok(readyAfter < 20_000);
  const [discovered, status] = await Promise.all([host.ask("discover"), host.ask("worker.status")]);
  assert.deepEqual(discovered.nodes, [definition]);
  assert.equal(status.transport, "stdio");
  await assert.rejects(host.ask("nonsense"), { message: "Unknown message type: nonsense" });
});

test("a run over pipes answers in frames, and logs to standard error", async () => {
  const pending = host.request("execute", execution({ steps: 1 }, { blobs: { depth_image: map } }));
  const { blobs } = await pending.answer;
  assert.deepEqual(steps(pending.progress), [[1, 1]]);
  assert.deepEqual([...(blobs as { output: Uint8Array }).output.subarray(1, 4)], [...Buffer.from("PNG")]);
  // Standard error is a separate pipe and may lag behind.
  await until(() => /256×256, seed 7/.test(host.errors));
});

test("a file of this machine is taken as an image over pipes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "a folder "));
  after(() => rm(folder, { recursive: true }));
  const file = join(folder, "map ü.png");
  await writeFile(file, map);
  const address = pathToFileURL(file).href;
  const { outputs } = await host.ask("execute", execution({ depth_image: address, steps: 1 }));
  assert.equal((outputs as { output: { metadata: Data } }).output.metadata.depth_source, "map");
});

test("a missing file is an error that names it", async () => {
  const address = "file:///nowhere/map.png";
  await assert.rejects(host.ask("execute", execution({ depth_image: address })), /\/nowhere\/map\.png/);
});

test("a file of another machine is refused by the property's name", async () => {
  const address = "file://elsewhere/map.png";
  await assert.rejects(host.ask("execute", execution({ depth_image: address })), {
    message: `depth_image is not the address of a file on this machine: ${JSON.stringify(address)}.`,
  });
});

test("the stream continues after garbage, and after a frame of 100 MiB", async () => {
  const error = host.next((frame) => frame.request_id === null);
  host.raw(Buffer.alloc(500, 0xc1));
  assert.match((await error).data.error as string, /cannot be read/);
  const big = { depth_image: new Uint8Array(100 * 1024 ** 2) };
  await assert.rejects(host.ask("execute", execution({}, { blobs: big })), {
    message: /^depth_image: is not an image/,
  });
  await assert.rejects(host.ask("nonsense"));
});

test("the worker and its engine end when the host goes during a run", async () => {
  const pending = host.request("execute", execution({ steps: 50 }, { blobs: { depth_image: map } }));
  await pending.until(({ progress }) => progress === 1);
  const engine = engineOf(host.child.pid!)!;
  assert.ok(isRunning(engine));
  const whole = pack({ type: "discover", request_id: "cut", data: {} });
  host.child.stdin!.end(Buffer.concat([Buffer.from([0, 0, 0, whole.byteLength]), whole.subarray(0, 5)]));
  assert.equal(await host.exited, 0);
  await until(() => /last frame was cut off/.test(host.errors));
  await until(() => !isRunning(engine));
});

test("a frame above the limit is answered with an error, then the worker ends", async () => {
  const other = await PipeHost.start({ NODETOOL_BRIDGE_MAX_FRAME_SIZE: "65536" });
  const refused = other.next((frame) => frame.type === "error");
  other.raw(Buffer.alloc(65_537));
  const { request_id: id, data } = await refused;
  assert.equal(id, null);
  assert.match(data.error as string, /65537 bytes was announced; frames may have 65536/);
  assert.equal(await other.exited, 0);
});

test("the engine does not outlive a killed worker", async () => {
  const other = await PipeHost.start();
  const pending = other.request("execute", execution({ steps: 50 }, { blobs: { depth_image: map } }));
  await pending.until(({ progress }) => progress === 1);
  const engine = engineOf(other.child.pid!)!;
  other.child.kill("SIGKILL");
  await other.exited;
  await until(() => !isRunning(engine));
});

test("a killed test leaves neither worker nor engine behind", async () => {
  const killed = `
    const { SocketHost, startWorker, engineOf, execution } = await import(${JSON.stringify(new URL("../support/host.js", import.meta.url))});
    const worker = await startWorker();
    const host = await SocketHost.connect(worker.url);
    const depth_image = Buffer.from(${JSON.stringify(map.toString("base64"))}, "base64");
    const run = host.request("execute", execution({ steps: 50 }, { blobs: { depth_image } }));
    await run.until(({ progress }) => progress === 1);
    process.stdout.write([worker.child.pid, engineOf(worker.child.pid)].join(), () => process.kill(process.pid, "SIGKILL"));`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", killed]).catch(
    (error: { stdout: string }) => error,
  );
  const left = stdout.split(",").map(Number);
  assert.equal(left.filter((pid) => pid > 0).length, 2);
  await until(() => !left.some(isRunning));
});

describe("wrong usage is one sentence and exit code 2:", () => {
  const cases: [string[], RegExp][] = [
    [["--port", "70000"], /--port must be a whole number from 0 to 65535/],
    [["--host", "0.0.0.0", "--port", "0"], /set NODETOOL_WORKER_TOKEN, or use --no-token/],
    [["--frobnicate"], /^There is no flag --frobnicate; --help lists the flags\.\n$/],
    [["--idle-minutes", "-1"], /^--idle-minutes must be a number of at least 0, not -1\.\n$/],
    [["--host", "", "--no-token"], /--host must be non-blank text/],
    [["--stdio", "--port", "99"], /--port has no effect with --stdio/],
    [["--host", "203.0.113.7", "--no-token", "--port", "0"], /Cannot listen on 203\.0\.113\.7/],
  ];
  for (const [args, message] of cases)
    test(args.join(" "), async () => {
      const env = { ...process.env, NODETOOL_WORKER_TOKEN: "" };
      await assert.rejects(run(process.execPath, [cli, "worker", ...args], { env }), (error) => {
        const { code, stderr } = error as unknown as { code: number; stderr: string };
        assert.equal(code, 2);
        assert.match(stderr, message);
        assert.doesNotMatch(stderr, /\bat .*:\d+/);
        return true;
      });
    });
});

test("--help lists the flags", async () => {
  const { stdout } = await run(process.execPath, [cli, "worker", "--help"]);
  for (const flag of ["--host", "--port", "--stdio", "--describe", "--doc", "--idle-minutes", "--no-token"])
    assert.ok(stdout.includes(`  ${flag}`), flag);
});
