import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as openSocket } from "node:net";
import { describe, test } from "node:test";
import { pack } from "msgpackr";
import sharp from "sharp";
import { WebSocket } from "ws";
import { definition } from "../../src/definition.js";
import { map, seconds, startConnected, withMap } from "../support/connected.js";
import {
  engineOf,
  examples,
  execution,
  isRunning,
  refusal,
  SocketHost,
  startWorker,
  until,
} from "../support/host.js";

const token = "a token of this test";
const { worker, host, connect } = await startConnected(token);
const open = await startConnected();
const limited = await startConnected("", { NODETOOL_BRIDGE_MAX_FRAME_SIZE: "32768" });

describe("a connected host", () => {
  test("discovers the node", async () => {
    const discovered = await host.ask("discover");
    assert.deepEqual(discovered, { protocol_version: 4, nodes: [definition], load_errors: [] });
    assert.equal(host.received.find(({ data }) => "nodes" in data)?.type, "discover");
  });

  test("finds in the metadata that results are drawn on a card", async () => {
    const { nodes } = (await host.ask("discover")) as { nodes: Record<string, unknown>[] };
    assert.equal(nodes[0]!.body, "content_card");
  });

  test("asks for the worker's status", async () => {
    assert.deepEqual(await host.ask("worker.status"), {
      protocol_version: 4,
      node_count: 1,
      provider_count: 0,
      namespaces: ["mlx"],
      load_errors: [],
      transport: "websocket",
      max_frame_size: 268_435_456,
    });
  });

  test("finds no providers", async () => {
    assert.deepEqual(await host.ask("provider.list"), { providers: [] });
  });
});

describe("an unknown request is an error without a traceback:", () => {
  const unknown: [string, string][] = [
    ["provider.text_to_image", "Unknown provider message type: provider.text_to_image"],
    ["comfy.execute", "Unknown comfy message type: comfy.execute"],
    ["blender.run", "Unknown blender message type: blender.run"],
    ["models.prepare", "Unknown models message type: models.prepare"],
    ["job.pause", "Unknown job message type: job.pause"],
    ["", "Unknown message type: "],
    ["nonsense", "Unknown message type: nonsense"],
  ];
  for (const [type, message] of unknown)
    test(JSON.stringify(type), async () => {
      const { id, answer } = host.request(type);
      await assert.rejects(answer, { message });
      assert.deepEqual(Object.keys(host.terminal(id)[0]!.data), ["error"]);
    });

  test("a name of a megabyte, which is not repeated in full", async () => {
    await assert.rejects(host.ask("x".repeat(1e6)), ({ message }: Error) => {
      assert.match(message, /^Unknown message type: x+ … x+$/);
      return message.length < 3000;
    });
  });

  test("another node", async () => {
    await assert.rejects(host.ask("execute", { node_type: "mlx.text_to_image.MFlux" }), {
      message: "Unknown node type: mlx.text_to_image.MFlux",
    });
  });

  test("a job without an id", async () => {
    await assert.rejects(host.ask("job.end", { job_id: "" }), /job_id/);
  });
});

describe("the connection lives on after", () => {
  test("a frame that is cut off, answered with its id", async () => {
    const other = await connect();
    const whole = pack({ type: "execute", request_id: "cut", data: withMap() });
    const cut = other.next((frame) => frame.request_id === "cut");
    other.raw(whole.subarray(0, whole.byteLength - 9));
    assert.equal((await cut).type, "error");
    await other.ask("worker.status");
    other.drop();
  });

  const garbage = [Buffer.alloc(0), Buffer.from("hello"), pack([1, 2]), Buffer.alloc(1000, 0xc1)];
  for (const payload of garbage)
    test(`garbage of ${payload.byteLength} bytes, answered with an error`, async () => {
      const other = await connect();
      const error = other.next((frame) => frame.request_id === null);
      other.raw(payload);
      assert.equal((await error).type, "error");
      await other.ask("worker.status");
      other.drop();
    });

  test("a text message, which is ignored", async () => {
    const other = await connect();
    other.socket.send("a text");
    await other.ask("worker.status");
    assert.equal(other.received.length, 1);
    other.drop();
  });
});

test("a file of this machine is refused as an image: the host may be elsewhere, behind a tunnel", async () => {
  const file = new URL("cube_depth.png", examples).href;
  await assert.rejects(host.ask("execute", execution({ depth_image: file, steps: 1 })), {
    message: `depth_image is the address of a file, ${JSON.stringify(file)}, but a host connected over WebSocket cannot name files. Connect the image itself.`,
  });
});

test("50 connections are served at once", async () => {
  const hosts = await Promise.all(Array.from({ length: 50 }, connect));
  const served = async (one: SocketHost): Promise<void> => {
    const [, status] = await Promise.all([one.ask("discover"), one.ask("worker.status")]);
    assert.equal(status.node_count, 1);
    await assert.rejects(one.ask("execute", withMap({ steps: 99 })), /steps/);
  };
  const started = performance.now();
  await Promise.all(hosts.map(served));
  const took = (performance.now() - started) / 1000;
  // The host gives up after 20 s.
  assert.ok(took < 20, `${took} s`);
  for (const one of hosts) one.drop();
});

describe("a worker with a token", () => {
  const wrong = [
    undefined,
    "",
    token,
    "Bearer wrong",
    `Bearer ${token}.`,
    `Bearer ${token.slice(0, -1)}`,
    `bearer ${token}`,
    `Bearer ${token.toUpperCase()}`,
  ];
  for (const authorization of wrong)
    test(`answers ${JSON.stringify(authorization) ?? "no token"} with 401 before the upgrade`, async () => {
      const refused = await refusal(worker.url, authorization === undefined ? {} : { authorization });
      assert.deepEqual(refused, { status: 401, body: "Unauthorized\n" });
    });

  test("upgrades with the token", async () => {
    assert.equal((await refusal(worker.url, { authorization: `Bearer ${token}` })).status, 101);
  });
});

describe("a worker without a token", () => {
  test("listens on this machine only", () => {
    assert.match(open.worker.url, /^ws:\/\/127\.0\.0\.1:\d+$/);
  });

  test("refuses web pages", async () => {
    assert.equal((await refusal(open.worker.url, { origin: "https://example.com" })).status, 401);
  });

  test("answers plain HTTP with 426", async () => {
    assert.equal((await fetch(open.worker.url.replace("ws", "http"))).status, 426);
  });
});

describe("a limit of frames", () => {
  test("is part of the status", async () => {
    assert.equal((await limited.host.ask("worker.status")).max_frame_size, 32_768);
  });

  test("makes a longer answer an error", async () => {
    const small = await sharp(map).resize(32, 32).png().toBuffer();
    const run = limited.host.request("execute", execution({ steps: 1 }, { blobs: { depth_image: small } }));
    await assert.rejects(run.answer, /The answer has \d+ bytes; frames may have 32768/);
    assert.equal(limited.host.terminal(run.id).length, 1);
  });

  test("closes the connection of a longer request, and no other", async () => {
    const client = await limited.connect();
    const closed = once(client.socket, "close");
    client.raw(pack({ type: "discover", request_id: "big", data: { filler: new Uint8Array(40_000) } }));
    assert.equal((await closed)[0], 1009);
    assert.equal((await limited.host.ask("worker.status")).node_count, 1);
  });
});

test("a worker that is stopped closes its connections", async () => {
  const other = await startWorker({ NODETOOL_WORKER_TOKEN: "" });
  const client = await SocketHost.connect(other.url);
  const closed = once(client.socket, "close");
  assert.equal(await other.stop(), 130);
  await closed;
});

test("a worker ended while it works ends at once, with its engine, and frees its port", async () => {
  let port = "0";
  for (const [signal, expected] of [
    ["SIGTERM", 143],
    ["SIGKILL", null],
  ] as const) {
    const other = await startWorker({ NODETOOL_WORKER_TOKEN: "" }, port);
    ({ port } = new URL(other.url));
    const client = await SocketHost.connect(other.url);
    const run = client.request("execute", withMap({ steps: 50, width: 512, height: 512 }));
    await run.until(({ progress }) => progress === 1);
    const engine = engineOf(other.child.pid!)!;
    const exited = once(other.child, "exit");
    other.child.kill(signal);
    const took = await seconds(exited);
    assert.ok(took < 10, `${signal}: ${took} s`);
    assert.equal(other.child.exitCode, expected);
    await until(() => !isRunning(engine));
  }
  const next = await startWorker({ NODETOOL_WORKER_TOKEN: "" }, port);
  assert.equal(new URL(next.url).port, port);
  await next.stop();
});

test("a worker continues when the reader of its log disconnects", async () => {
  const other = await startWorker({ NODETOOL_WORKER_TOKEN: "" });
  other.child.stderr!.destroy();
  other.child.stdout!.destroy();
  const client = await SocketHost.connect(other.url);
  const ended = once(other.child, "exit").then(([code]) => `the worker ended with ${code}`);
  // The log has a line of each run.
  for (let i = 0; i < 2; i++) {
    const answer = client.ask("execute", withMap({ steps: 1 })).then(() => "answered");
    assert.equal(await Promise.race([answer, ended]), "answered");
  }
  client.drop();
  assert.equal(await other.stop(), 130);
});

test("a socket that is not WebSocket is closed, and the worker lives on", async () => {
  const { port } = new URL(worker.url);
  const socket = openSocket(Number(port), "127.0.0.1");
  socket.end("not even HTTP\r\n\r\n");
  socket.resume();
  await once(socket, "close");
  const stale = new WebSocket(worker.url, { headers: { authorization: "Bearer no" } });
  await once(stale, "error");
  assert.equal((await host.ask("worker.status")).node_count, 1);
});
