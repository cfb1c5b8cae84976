import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { after, describe, test } from "node:test";
import { EventStream, type EventStreamOptions } from "../../src/http/event-stream.js";

/** A stream to a reader that has not read anything yet. */
async function open(
  options: EventStreamOptions = {},
): Promise<{ stream: EventStream; reader: Socket; response: ServerResponse }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const reader = connect((server.address() as AddressInfo).port, "127.0.0.1");
  reader.pause().write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const [, response] = (await once(server, "request")) as [unknown, ServerResponse];
  after(() => server.close().closeAllConnections());
  return { stream: new EventStream(response, options), reader, response };
}

const big = "x".repeat(100_000);
const isReplaceable = ({ event }: { event: string }): boolean => event === "step";

async function eventsRead(reader: Socket): Promise<string[]> {
  let text = "";
  for await (const chunk of reader.setEncoding("utf8")) text += chunk;
  return [...text.matchAll(/^event: (\w+)\r?\ndata: \{"n":(\d+)/gm)].map(([, name, n]) => `${name} ${n}`);
}

describe("a stream to a slow reader", () => {
  test("drops replaceable events that a later one replaces, and no others", async () => {
    const { stream, reader } = await open({ isReplaceable });
    for (let n = 0; n < 200; n++) {
      stream.send({ id: n, event: "step", data: { n, big } });
      if (n % 50 === 0) stream.send({ id: n, event: "warning", data: { n } });
    }
    stream.end();
    const read = await eventsRead(reader);
    assert.deepEqual(
      read.filter((one) => one.startsWith("warning")),
      [0, 50, 100, 150].map((n) => `warning ${n}`),
    );
    assert.equal(read.at(-1), "step 199");
    assert.ok(read.length < 150, `${read.length} events`);
  });

  test("is cut off when too many events wait that may not be dropped", async () => {
    const { stream, response } = await open({ maxWaiting: 10 });
    for (let n = 0; n < 1000 && !response.destroyed; n++)
      stream.send({ id: n, event: "queued", data: { n, big } });
    assert.ok(response.destroyed);
  });
});

test("a stream to a fast reader has every event", async () => {
  const { stream, reader } = await open({ isReplaceable });
  const read = eventsRead(reader);
  for (let n = 0; n < 100; n++) {
    stream.send({ id: n, event: "step", data: { n } });
    await new Promise((resolve) => setImmediate(resolve));
  }
  stream.end();
  assert.equal((await read).length, 100);
});

test("a stream without events has comments, so that proxies keep it", async () => {
  const { stream, reader } = await open({ commentMs: 20 });
  let text = "";
  reader.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    if ((text.match(/^:$/gm) ?? []).length >= 3) stream.end();
  });
  reader.resume();
  await once(reader, "end");
  assert.doesNotMatch(text, /^event/m);
});
