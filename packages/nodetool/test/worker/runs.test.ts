import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { map, seconds, startConnected, withMap, works } from "../support/connected.js";
import { type Data, engineOf, examples, execution, steps } from "../support/host.js";

const { worker, host, connect } = await startConnected();

const imageOf = async (answer: Data): Promise<{ width: number; height: number; format: string }> => {
  const { output } = answer.blobs as { output: Uint8Array };
  const { width, height, format } = await sharp(output).metadata();
  return { width: width!, height: height!, format: format! };
};
const outputOf = (answer: Data): Data & { metadata: Data } =>
  (answer.outputs as { output: Data & { metadata: Data } }).output;
const seedOf = (answer: Data): unknown => outputOf(answer).metadata.seed;

describe("a run", () => {
  const run = host.request("execute", withMap({ width: 270, height: 300 }));

  test("reports progress from 1 to all steps", async () => {
    await run.answer;
    assert.deepEqual(steps(run.progress), [
      [1, 2],
      [2, 2],
    ]);
  });

  test("reports that weights are loaded before the first step", () => {
    assert.ok(
      run.progress.some(({ progress, message }) => progress === 0 && /Loading/.test(String(message))),
    );
  });

  test("answers with an image of the floored size, and its seed", async () => {
    const answer = await run.answer;
    assert.deepEqual(await imageOf(answer), { width: 256, height: 288, format: "png" });
    const { type, format, width, height } = outputOf(answer);
    assert.deepEqual([type, format, width, height], ["image", "png", 256, 288]);
    assert.equal(seedOf(answer), 7);
  });

  test("is answered once", async () => {
    await run.answer;
    assert.equal(host.terminal(run.id).length, 1);
  });

  test("draws a new seed for 0, and writes it into the user's log, for its node", async () => {
    const drawn = ["execute", "execute.stream"].map((type) =>
      host.request(type, withMap({ seed: 0, steps: 1 }, { node_id: "n3" })),
    );
    const seeds: unknown[] = [];
    for (const { answer, updates } of drawn) {
      const seed = seedOf(await answer);
      assert.ok(Number(seed) > 0);
      const content = `Seed ${seed} was drawn.`;
      assert.deepEqual(updates, [
        { type: "log_update", node_id: "n3", node_name: "MFlux Depth", content, severity: "info" },
      ]);
      seeds.push(seed);
    }
    assert.notEqual(seeds[0], seeds[1]);
  });

  test("infers depth from a photo, a JPEG in a data URI", async () => {
    const jpeg = await sharp(new URL("chelsea.jpg", examples).pathname).resize(200, 150).jpeg().toBuffer();
    const photo = { type: "image", uri: "", data: `data:image/jpeg;base64,${jpeg.toString("base64")}` };
    const answer = await host.ask("execute", execution({ image: photo, steps: 1 }));
    assert.equal(outputOf(answer).metadata.depth_source, "photo");
  });

  test("takes a depth map as WebP in a field, and says nothing when there is nothing to say", async () => {
    const webp = await sharp(map).webp({ lossless: true }).toBuffer();
    const field = { type: "image", data: webp.toString("base64"), mimeType: "image/webp" };
    const silent = host.request("execute", execution({ depth_image: field, steps: 1 }));
    const { metadata } = outputOf(await silent.answer);
    assert.deepEqual([metadata.depth_source, metadata.warnings], ["map", []]);
    assert.deepEqual(silent.updates, []);
  });

  test("warns in a progress frame and in the image's metadata", async () => {
    const coloured = await sharp(new URL("chelsea.jpg", examples).pathname).resize(256, 256).png().toBuffer();
    const warned = host.request("execute", execution({ steps: 1 }, { blobs: { depth_image: coloured } }));
    const [warning, ...others] = outputOf(await warned.answer).metadata.warnings as string[];
    assert.deepEqual(others, []);
    assert.match(warning!, /in colour/);
    const told = warned.progress.filter(({ message }) => String(message).startsWith("Warning"));
    assert.deepEqual(told, [{ progress: 0, total: 1, message: `Warning: ${warning}` }]);
    assert.deepEqual(warned.updates, [
      { type: "log_update", node_name: "MFlux Depth", content: warning, severity: "warning" },
    ]);
  });

  test("counts the steps that a photo leaves from the start", async () => {
    const photo = await sharp(map).resize(64, 64).jpeg().toBuffer();
    await host.ask("models.evict");
    const started = host.request(
      "execute",
      execution({ steps: 4 }, { blobs: { image: photo, depth_image: map } }),
    );
    await started.answer;
    assert.ok(started.progress.some(({ message }) => /Loading/.test(String(message))));
    assert.deepEqual(new Set(started.progress.map(({ total }) => total)), new Set([3]));
    assert.deepEqual(steps(started.progress).at(-1), [3, 3]);
  });
});

describe("a run is refused by the property's name for", () => {
  const bomb = pngOf(30_000, 30_000);
  const cases: [string, Data, RegExp][] = [
    ["too few steps", withMap({ steps: 0 }), /^steps must be/],
    ["a blank prompt", withMap({ prompt: " " }), /^Prompt cannot be empty/],
    ["no image", execution(), /depth_image/],
    [
      "bytes that are not an image",
      execution({}, { blobs: { depth_image: new Uint8Array(1000) } }),
      /^depth_image: /,
    ],
    [
      "a map with too many pixels",
      execution({}, { blobs: { depth_image: bomb } }),
      /^depth_image: .*30000 × 30000/,
    ],
    [
      "a photo with too many pixels",
      execution({}, { blobs: { depth_image: map, image: bomb } }),
      /^image: .*30000 × 30000/,
    ],
    ["a model that is not there", withMap({ model: { repo_id: "nobody/nothing" } }), /nobody\/nothing/],
    [
      "100 MiB that are not an image",
      execution({}, { blobs: { depth_image: new Uint8Array(100 * 1024 ** 2) } }),
      /^depth_image: /,
    ],
  ];
  for (const [what, data, message] of cases)
    test(what, async () => {
      await assert.rejects(host.ask("execute", data), { message });
    });
});

describe("several runs", () => {
  test("of two hosts run one after another", async () => {
    const other = await connect();
    const first = host.request("execute", withMap());
    await first.until(() => true);
    const second = other.request("execute", withMap({ seed: 8 }));
    const secondBegan = second.until(() => true).then(() => host.terminal(first.id).length);
    const [one, two] = await Promise.all([first.answer, second.answer]);
    assert.deepEqual([seedOf(one), seedOf(two)], [7, 8]);
    assert.equal(await secondBegan, 1, "the second began before the first was answered");
    assert.deepEqual(steps(second.progress), [
      [1, 2],
      [2, 2],
    ]);
    other.drop();
  });

  test("refuse an id that is in use, and the first one continues", async () => {
    const run = host.request("execute", withMap());
    await run.until(() => true);
    const image = host.next((frame) => frame.request_id === run.id && frame.type === "result");
    host.send("execute", withMap(), run.id);
    await assert.rejects(run.answer, /is in progress/);
    await image;
  });
});

test("the worker answers quickly while an image is generated", async () => {
  const run = host.request("execute", withMap({ steps: 4 }));
  const whole = seconds(run.answer);
  let done = false;
  void run.answer.finally(() => {
    done = true;
  });
  const times: number[] = [];
  while (!done) {
    times.push(await seconds(host.ask("worker.status")));
    await sleep(20);
  }
  await run.answer;
  times.sort((a, b) => a - b);
  assert.ok(times.length > 10);
  // The system may occasionally delay any process, so only the usual time counts. responsive.test.ts measures the
  // worker itself.
  const usual = times[Math.floor(times.length * 0.95)]!;
  const limit = Math.max(0.1, (await whole) / 10);
  assert.ok(
    usual < limit,
    `of ${times.length} answers one in twenty took ${usual} s or more, not ${limit} s`,
  );
});

describe("models.evict", () => {
  const nothing = { evicted: [] };

  test("keeps the model for users who did not use it", async () => {
    await works(host, { node_id: "n7", job_id: "j7" });
    const engine = engineOf(worker.child.pid!);
    assert.ok(engine);
    for (const users of [{ job_id: "unknown" }, { node_ids: ["unknown"] }, { node_ids: [] }])
      assert.deepEqual(await host.ask("models.evict", users), nothing);
    assert.equal(engineOf(worker.child.pid!), engine);
  });

  test("releases the model for a node that used it", async () => {
    await works(host, { node_id: "n7", job_id: "j7" });
    const { evicted, freed_vram_gb: freed } = await host.ask("models.evict", { node_ids: ["n7"] });
    assert.deepEqual(evicted, ["tiny-world"]);
    assert.ok(Number(freed) > 0.05);
    assert.equal(engineOf(worker.child.pid!), undefined);
  });

  test("has nothing to release after that", async () => {
    assert.deepEqual(await host.ask("models.evict", {}), nothing);
  });
});

/** A PNG that announces a size and holds almost nothing. */
function pngOf(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const frame = Buffer.alloc(8 + body.byteLength);
    frame.writeUInt32BE(data.byteLength);
    body.copy(frame, 4);
    frame.writeUInt32BE(crc(body), 4 + body.byteLength);
    return frame;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", Buffer.from("789c030000000001", "hex")),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function crc(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return (value ^ 0xffffffff) >>> 0;
}
