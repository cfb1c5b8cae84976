import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { after, describe, test } from "node:test";
import { Engine } from "mflux-depth/engine";
import { pack } from "msgpackr";
import { serveWebSocket } from "../../src/worker/websocket.js";
import { Worker } from "../../src/worker/worker.js";
import { startConnected } from "../support/connected.js";
import { PipeHost, SocketHost, until } from "../support/host.js";

/** Requests whose answers have 200 MB. */
const manyRequests = 20_000;

/** The additional memory that a worker may hold for a host that does not read. */
const mostHeld = 60e6;

const request = (id: number): Buffer => pack({ type: "discover", request_id: `${id}`, data: {} });

/** Resident memory of a process, in bytes. */
const memoryOf = (pid: number): number =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

/** Watches the memory of a process until it has stayed within a megabyte for a second. @returns the most bytes. */
async function settledMemory(pid: number): Promise<number> {
  let [most, level, since] = [0, 0, performance.now()];
  await until(() => {
    const now = memoryOf(pid);
    most = Math.max(most, now);
    if (Math.abs(now - level) > 1e6) [level, since] = [now, performance.now()];
    return performance.now() - since > 1000;
  });
  return most;
}

/** A masked binary message of WebSocket. */
function message(payload: Uint8Array): Buffer {
  assert.ok(payload.byteLength < 126);
  return Buffer.concat([Buffer.from([0x82, 0x80 | payload.byteLength, 0, 0, 0, 0]), payload]);
}

/** A connection of WebSocket that sends requests and never reads a byte. */
function openMute(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  const headers = [
    "GET / HTTP/1.1",
    `Host: ${hostname}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${Buffer.alloc(16).toString("base64")}`,
  ];
  socket.write(`${headers.join("\r\n")}\r\n\r\n`);
  for (let id = 0; id < manyRequests; id++) socket.write(message(request(id)));
  return socket;
}

describe("a host that never reads its answers", {
  skip: process.platform !== "linux" && "measures with /proc",
}, () => {
  test("over WebSocket takes little of the worker's memory, while it is there and afterwards", async () => {
    const { worker, connect: another } = await startConnected();
    const pid = worker.child.pid!;
    const before = await settledMemory(pid);
    for (let round = 0; round < 2; round++) {
      const mute = openMute(worker.url);
      const held = (await settledMemory(pid)) - before;
      assert.ok(held < mostHeld, `${held / 1e6} MB in round ${round}`);
      const reading = await another();
      assert.equal((await reading.ask("worker.status")).node_count, 1);
      reading.drop();
      mute.destroy();
    }
    assert.ok((await settledMemory(pid)) - before < mostHeld);
  });

  test("over pipes takes little of the worker's memory, and is answered once it reads", async () => {
    const host = await PipeHost.start();
    after(() => host.child.kill());
    await host.ask("worker.status");
    const before = await settledMemory(host.child.pid!);
    host.child.stdout!.pause();
    for (let id = 0; id < manyRequests; id++) host.raw(request(id));
    const held = (await settledMemory(host.child.pid!)) - before;
    assert.ok(held < mostHeld, `${held / 1e6} MB`);
    host.child.stdout!.resume();
    await until(() => host.received.length > manyRequests);
  });
});

describe("a host that reads after a while", () => {
  test("gets every answer", async () => {
    const { connect: another } = await startConnected();
    const slow = await another();
    slow.socket.pause();
    for (let id = 0; id < 2000; id++) slow.raw(request(id));
    slow.socket.resume();
    await until(() => slow.received.length === 2000);
    slow.drop();
  });
});

describe("a host is disconnected", () => {
  const engine = new Engine();
  after(() => engine.close());

  /** The log about a host that sends requests and reads nothing. */
  async function disconnection(patience: {
    pauseBytes: number;
    mostBytes: number;
    stallMs: number;
  }): Promise<string> {
    const lines: string[] = [];
    const endpoint = await serveWebSocket(new Worker({ transport: "websocket", engine }), {
      ...{ host: "127.0.0.1", port: 0, token: "", frameLimit: 2 ** 20, patience },
      log: (line) => lines.push(line),
    });
    const host = await SocketHost.connect(endpoint.url);
    host.socket.pause();
    const closed = once(host.socket, "close");
    for (let id = 0; id < manyRequests; id++) host.raw(request(id));
    await until(() => lines.length > 0);
    host.socket.resume();
    await closed;
    await endpoint.close();
    assert.equal(lines.length, 1);
    return lines[0]!;
  }

  test("when it has read nothing for a while", async () => {
    const patience = { pauseBytes: 2 ** 20, mostBytes: 2 ** 30, stallMs: 300 };
    assert.equal(
      await disconnection(patience),
      "A host was disconnected: it has read none of its answers for 0.3 s.",
    );
  });

  test("when too much waits for it", async () => {
    const patience = { pauseBytes: 2 ** 30, mostBytes: 2 ** 20, stallMs: 60_000 };
    assert.match(
      await disconnection(patience),
      /^A host was disconnected: \d{7} bytes of its answers are unread\.$/,
    );
  });
});
