import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { ModelError } from "../../src/errors.js";
import { kindFor } from "../../src/families/kinds.js";
import { type ModelSource, type ObtainOptions, obtainRepository } from "../../src/hub/obtain.js";
import type { Repository } from "../../src/hub/repository.js";
import { hubSettings } from "../../src/hub/settings.js";
import type { DownloadProgress } from "../../src/hub/transfer.js";
import {
  type Asked,
  etagOf,
  type Fault,
  type Files,
  goodToken,
  HubServer,
  newCommit,
  poorToken,
} from "../support/hub-server.js";
import { untilWritten } from "../support/waiting.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const bin = path("../../../bin/mflux-depth.js");
const tinyWorld = path("../../../models/tiny-world");
const image = (name: string): string => path(`../../../../../examples/images/${name}`);

const name = "someone/tiny";
/** Impatient: what fails, fails within milliseconds. What is merely slow does not. */
const patience = { retries: 3, delayMs: 1, stallMs: 60_000 };

let hub: HubServer;
let home: string;
before(async () => {
  hub = await HubServer.start();
});
after(() => hub[Symbol.asyncDispose]());
beforeEach(async () => {
  hub.forget();
  home = await mkdtemp(join(tmpdir(), "mflux-depth-hub-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const root = (): string => join(home, "hub", `models--${name.replace("/", "--")}`);
const environment = (): NodeJS.ProcessEnv => ({ HF_HOME: home, HF_ENDPOINT: hub.endpoint });

function obtain(
  source: Partial<ModelSource> = {},
  options: Partial<ObtainOptions> = {},
): Promise<Repository> {
  return obtainRepository(
    { model: name, ...source },
    { kind: kindFor.generation, env: environment(), patience, ...options },
  );
}

const failure = (expected: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ModelError, String(error));
  assert.match(error.message, expected);
  return true;
};

// ---------------------------------------------------------------- repositories

const json = JSON.stringify;
const weights = (size: number, seed: number): Buffer =>
  Buffer.from(Array.from({ length: size }, (_, i) => (i * seed) % 251));

/** All that FLUX.1 Depth needs, in small: nothing looks inside the weights before all are there. */
const needed: Files = {
  "model_index.json": json({ _class_name: "FluxControlPipeline" }),
  "scheduler/scheduler_config.json": json({ of: "scheduler/scheduler_config.json" }),
  "text_encoder/config.json": json({ a: 1 }),
  "text_encoder/model.safetensors": weights(20_000, 3),
  "text_encoder_2/config.json": json({ b: 1 }),
  "text_encoder_2/model-00001-of-00002.safetensors": weights(30_000, 5),
  "text_encoder_2/model-00002-of-00002.safetensors": weights(1_000, 7),
  "text_encoder_2/model.safetensors.index.json": json({
    weight_map: { x: "model-00001-of-00002.safetensors", y: "model-00002-of-00002.safetensors" },
  }),
  "tokenizer/merges.txt": "#version: 0.2\n",
  "tokenizer/special_tokens_map.json": json({ of: "tokenizer/special_tokens_map.json" }),
  "tokenizer/tokenizer_config.json": json({ of: "tokenizer/tokenizer_config.json" }),
  "tokenizer/vocab.json": json({ of: "tokenizer/vocab.json" }),
  "tokenizer_2/special_tokens_map.json": json({ of: "tokenizer_2/special_tokens_map.json" }),
  "tokenizer_2/tokenizer.json": json({ model: 1 }),
  "tokenizer_2/tokenizer_config.json": json({ of: "tokenizer_2/tokenizer_config.json" }),
  "transformer/config.json": json({ _class_name: "FluxTransformer2DModel", in_channels: 128 }),
  "transformer/diffusion_pytorch_model.safetensors": weights(300_000, 11),
  "vae/config.json": json({ latent_channels: 16 }),
  "vae/diffusion_pytorch_model.safetensors": weights(40_000, 13),
};
const transformer = "transformer/diffusion_pytorch_model.safetensors";

/** What real repositories have besides. */
const besides: Files = {
  ".gitattributes": "*.safetensors filter=lfs",
  "LICENSE.md": "License",
  "README.md": "Read me",
  "ae.safetensors": weights(10_000, 17),
  "flux1-depth-dev.safetensors": weights(10_000, 19),
  "text_encoder/model.fp16.safetensors": weights(9_000, 23),
  "text_encoder/pytorch_model.bin": weights(9_000, 29),
  "text_encoder_2/model-00003-of-00003.safetensors": weights(1_000, 31),
  "tokenizer_2/spiece.model": weights(9_000, 37),
  "transformer/onnx/model.onnx": weights(9_000, 41),
};
const full: Files = { ...needed, ...besides };

/** Files of a snapshot, each read through its link. */
function contents(folder: string): Record<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  const files = names.filter((file) => !lstatSync(join(folder, file)).isDirectory());
  return Object.fromEntries(files.map((file) => [file, readFileSync(join(folder, file))]));
}

const asBuffers = (files: Files): Record<string, Buffer> =>
  Object.fromEntries(
    Object.keys(files)
      .sort()
      .map((file) => [file, Buffer.from(files[file]!)]),
  );

const assertWhole = ({ folder }: Repository, files: Files = needed): void =>
  assert.deepEqual(contents(folder), asBuffers(files));

const incomplete = async (): Promise<string[]> =>
  (await readdir(join(root(), "blobs"))).filter((file) => file.endsWith(".incomplete"));

/** Where the cache keeps what it has of a file's content until it has all. */
const partOf = (content: string): string => join(root(), "blobs", `${content}.incomplete`);

/** Sends only so many bytes of the content of the transformer, `times` times, then all. */
function cutTransformer(bytes: number, times: number): Fault {
  let left = times;
  const content = etagOf(transformer, needed[transformer] as Buffer);
  return ({ cdn, path, headers }) => {
    if (!cdn || !path.endsWith(content) || left-- <= 0) return undefined;
    const start = Number(/\d+/.exec(headers.range ?? "0"));
    // What was sent and not yet taken would be lost.
    return { cutAfter: bytes, cutWhen: () => untilWritten(partOf(content), start + bytes) };
  };
}

/** Ranges in which the transformer's content was asked for. */
const rangesOfTransformer = (): (string | undefined)[] =>
  hub.asked
    .filter(({ cdn, path }) => cdn && path.endsWith(etagOf(transformer, needed[transformer] as Buffer)))
    .map(({ headers }) => headers.range);

describe("a download", () => {
  test("takes what is needed and no more, into the layout that Python shares", async () => {
    const commit = hub.host(name, full);
    const events: DownloadProgress[] = [];
    const found = await obtain(
      {},
      { env: { ...environment(), HF_TOKEN: goodToken }, onProgress: (event) => events.push(event) },
    );
    assert.deepEqual(found, { name, folder: join(root(), "snapshots", commit), revision: commit });
    assertWhole(found);

    const file = join(found.folder, transformer);
    const etag = etagOf(transformer, full[transformer] as Buffer);
    assert.equal(readlinkSync(file), `../../../blobs/${etag}`);
    const index = "model_index.json";
    assert.equal(
      readlinkSync(join(found.folder, index)),
      `../../blobs/${etagOf(index, Buffer.from(full[index]!))}`,
    );
    assert.equal(readFileSync(join(root(), "refs", "main"), "utf8"), commit);
    assert.ok(existsSync(join(home, "hub", ".locks", "models--someone--tiny", `${etag}.lock`)));
    assert.deepEqual(await incomplete(), []);

    // Whether this account may read it at all, then what says the kind of model, then weights.
    const asked = hub.resolved();
    assert.equal(asked[0], "transformer/config.json");
    const firstWeights = asked.findIndex((one) => one.endsWith(".safetensors"));
    assert.ok(asked.slice(firstWeights).every((one) => one.endsWith(".safetensors")));
    assert.deepEqual([...asked].sort(), Object.keys(needed).sort());
    assert.ok(
      hub.asked.every(
        ({ cdn, headers }) => headers.authorization === (cdn ? undefined : `Bearer ${goodToken}`),
      ),
    );

    const total = Object.values(asBuffers(needed)).reduce((sum, { length }) => sum + length, 0);
    const count = Object.keys(needed).length;
    assert.deepEqual(events.at(-1), {
      component: name,
      state: "download",
      bytes: total,
      bytesDone: total,
      files: count,
      filesDone: count,
      current: [],
    });
    assert.ok(events.every(({ bytesDone }, i) => i === 0 || bytesDone >= events[i - 1]!.bytesDone));
  });

  test("is not needed for what the cache has whole, whatever is new on the Hub", async () => {
    const commit = hub.host(name, full);
    await obtain();
    hub.host(name, { ...full, "vae/config.json": "{}" });
    hub.forget();
    assert.equal((await obtain()).revision, commit);
    assert.equal((await obtain({ revision: commit })).revision, commit);
    assert.deepEqual(hub.asked, []);
  });

  test("of another revision shares what is equal", async () => {
    hub.host(name, full);
    await obtain();
    const files: Files = { ...full, "vae/config.json": json({ latent_channels: 16, new: 1 }) };
    const commit = newCommit();
    hub.repositories[name]!.commits[commit] = files;
    hub.repositories[name]!.refs["refs/pr/1"] = commit;
    hub.forget();
    const found = await obtain({ revision: "refs/pr/1" });
    assert.equal(found.revision, commit);
    assertWhole(found, { ...needed, "vae/config.json": files["vae/config.json"]! });
    assert.deepEqual(hub.resolved(), ["vae/config.json"]);
    assert.equal(readFileSync(join(root(), "refs", "refs/pr/1"), "utf8"), commit);
  });

  test("by commit leaves no reference, and is found all the same", async () => {
    const commit = hub.host(name, full);
    await obtain({ revision: commit });
    assert.equal(existsSync(join(root(), "refs")), false);
    assert.equal((await obtain({}, { offline: true })).revision, commit);
  });

  test("takes a variant where there is one, shards by their index", async () => {
    const shard = "transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors";
    const index = "transformer/diffusion_pytorch_model.safetensors.index.fp16.json";
    const varied: Files = {
      [shard]: weights(5_000, 43),
      [index]: json({ weight_map: { x: shard.split("/")[1] } }),
      "vae/diffusion_pytorch_model.fp16.safetensors": weights(5_000, 47),
    };
    hub.host(name, { ...full, ...varied });
    const expected: Record<string, Uint8Array | string> = { ...needed, ...varied };
    expected["text_encoder/model.fp16.safetensors"] = full["text_encoder/model.fp16.safetensors"]!;
    for (const plain of [
      "text_encoder/model",
      "vae/diffusion_pytorch_model",
      "transformer/diffusion_pytorch_model",
    ])
      delete expected[`${plain}.safetensors`];
    assertWhole(await obtain({ variant: "fp16" }), expected);
    await assert.rejects(obtain({ variant: "bf16" }), failure(/no \*\.bf16\.safetensors/));
  });

  test("keeps to a folder of the repository, and to patterns", async () => {
    const inside = Object.fromEntries(
      Object.entries(needed).map(([file, bytes]) => [`small/q4/${file}`, bytes]),
    );
    const commit = hub.host(name, { "README.md": "x", ...inside });
    const found = await obtain({ path: "small/q4" });
    assert.equal(found.folder, join(root(), "snapshots", commit, "small/q4"));
    assertWhole(found);
    hub.host(name, full);
    await rm(home, { recursive: true });
    hub.forget();
    await assert.rejects(
      obtain({ patterns: { allow: ["*.json", "*.safetensors"], ignore: ["vae/*.safe*"] } }),
      failure(/has no vae\/\*\.safetensors, no tokenizer\/merges\.txt, or the patterns exclude it/),
    );
    await assert.rejects(
      obtain({ patterns: { ignore: ["vae/*", "tokenizer/"] } }),
      failure(/the patterns exclude all of tokenizer, vae; the model needs these folders/),
    );
    assert.ok(!hub.resolved().some((file) => file.endsWith(".safetensors")));
    await assert.rejects(obtain({ path: "../.." }), failure(/leads out of the repository/));
    await assert.rejects(obtain({ path: "flux1-depth-dev.safetensors" }), failure(/one file/));
  });

  test("of Depth Pro takes that alone", async () => {
    const depthPro: Files = {
      "config.json": json({ model_type: "depth_pro" }),
      "model.safetensors": weights(5_000, 3),
      "preprocessor_config.json": "{}",
    };
    hub.host(name, { ...depthPro, "README.md": "x", "depth_pro.pt": "x", "onnx/model.onnx": "x" });
    const found = await obtain({}, { kind: kindFor.depth });
    assertWhole(found, depthPro);
    assert.deepEqual(await obtain({}, { kind: kindFor.depth, offline: true }), found);
  });

  test("of two at a time takes each file once", async () => {
    hub.host(name, full);
    await Promise.all([obtain(), obtain()]);
    const cdn = hub.asked.filter((asked) => asked.cdn);
    assert.equal(new Set(cdn.map(({ path }) => path)).size, cdn.length);
  });

  test("waits for the lock that Python takes", { skip: process.platform !== "linux" }, async (t) => {
    hub.host(name, full);
    const lock = join(
      home,
      "hub",
      ".locks",
      "models--someone--tiny",
      `${etagOf(transformer, full[transformer] as Buffer)}.lock`,
    );
    await mkdir(join(lock, ".."), { recursive: true });
    const holder = spawn("flock", [lock, "sh", "-c", "echo held; read line"]);
    holder.on("error", () => t.skip("flock is not installed"));
    await Promise.race([once(holder.stdout, "data"), once(holder, "exit")]);
    let done = false;
    const download = obtain().then((found) => {
      done = true;
      return found;
    });
    await sleep(500);
    assert.equal(done, false);
    assert.ok(!hub.resolved().includes(transformer));
    holder.stdin.end("\n");
    assertWhole(await download);
  });
});

describe("a connection", () => {
  test("cut at every request, before, within and after its head, is taken up again", async () => {
    hub.host(name, full);
    await obtain();
    const requests = hub.asked.length;
    // Each request once, in one of the ways.
    for (const [first, way] of (["before", "head", "within"] as const).entries())
      for (let nth = first; nth < requests; nth += 3) {
        await rm(home, { recursive: true });
        hub.forget();
        let count = 0;
        hub.fault = (_, response) => {
          if (count++ !== nth) return undefined;
          if (way !== "before") return { cutAfter: way === "head" ? 0 : 10 };
          response.destroy();
          return true;
        };
        assertWhole(await obtain());
        if (way === "before") assert.ok(hub.asked.length > requests);
      }
  });

  test("that keeps being cut goes on where it was, and patience lasts while bytes come", async () => {
    hub.host(name, full);
    hub.fault = cutTransformer(50_000, 5);
    assertWhole(await obtain());
    const ranges = rangesOfTransformer();
    assert.equal(ranges.length, 6);
    assert.deepEqual(ranges, [undefined, ...[1, 2, 3, 4, 5].map((n) => `bytes=${n * 50_000}-`)]);
  });

  test("that never lasts ends the download, which the next run takes up", async () => {
    hub.host(name, full);
    const lasting = cutTransformer(50_000, 1);
    hub.fault = (asked, response) =>
      lasting(asked, response) ?? (asked.headers.range ? { cutAfter: 0 } : undefined);
    await assert.rejects(
      obtain(),
      failure(/someone\/tiny: the download from http.* failed .*4 times in a row; run this again/),
    );
    // Others that were on their way when it failed may lie beside it.
    const begun = `${etagOf(transformer, needed[transformer] as Buffer)}.incomplete`;
    assert.ok((await incomplete()).includes(begun));
    // Nothing that loads: the snapshot is known to be a part.
    await assert.rejects(
      obtain({ revision: Object.values(hub.repositories[name]!.refs)[0]! }, { offline: true }),
      failure(/only part.*without .*transformer\/\*\.safetensors/),
    );
    hub.forget();
    assertWhole(await obtain());
    assert.deepEqual(rangesOfTransformer(), ["bytes=50000-"]);
  });

  test("on which nothing happens counts as cut", async () => {
    hub.host(name, full);
    let silent = 2;
    hub.fault = ({ path }, response) => {
      if (!/vae\/config|\/tree\//.test(path) || silent-- <= 0) return undefined;
      response.writeHead(200).flushHeaders();
      return true;
    };
    assertWhole(await obtain({}, { patience: { ...patience, stallMs: 1000 } }));
    assert.ok(silent <= 0);
  });

  test("that cannot be made is said so", async () => {
    const gone = await HubServer.start();
    const nobody = { ...environment(), HF_ENDPOINT: gone.endpoint };
    await gone[Symbol.asyncDispose]();
    await assert.rejects(
      obtain({}, { env: nobody }),
      failure(/not whole in the cache.*cannot be reached \(ECONNREFUSED\)/),
    );
  });

  test("ends at once when cancelled; bytes are kept", async () => {
    hub.host(name, full);
    const controller = new AbortController();
    const content = etagOf(transformer, full[transformer] as Buffer);
    hub.fault = ({ cdn, path }, response) => {
      if (!cdn || !path.endsWith(content)) return undefined;
      response.writeHead(200, { "content-length": "300000" });
      response.write((full[transformer] as Buffer).subarray(0, 100_000));
      void untilWritten(partOf(content), 100_000).then(() => controller.abort(new Error("enough")));
      return true;
    };
    await assert.rejects(obtain({}, { signal: controller.signal }), { message: "enough" });
    hub.forget();
    assertWhole(await obtain());
    assert.deepEqual(rangesOfTransformer(), ["bytes=100000-"]);
  });
});

describe("a server", () => {
  beforeEach(() => hub.host(name, full));

  const failing = (status: number, headers: Record<string, string>, times: number): Fault => {
    let left = times;
    return (_, response) => {
      if (left-- <= 0) return undefined;
      response.writeHead(status, headers).end("busy");
      return true;
    };
  };

  test("that fails is asked again", async () => {
    for (const status of [500, 502, 503, 504]) {
      await rm(home, { recursive: true, force: true });
      hub.fault = failing(status, {}, 3);
      assertWhole(await obtain());
    }
    hub.fault = failing(503, {}, 1000);
    await rm(home, { recursive: true });
    await assert.rejects(obtain(), failure(/the server failed \(503\)\), 4 times in a row/));
  });

  test("that is busy is given the time it asks for", async () => {
    // A date has whole seconds.
    for (const [headersOf, least] of [
      [() => ({ "retry-after": "1" }), 1000],
      [() => ({ "retry-after": new Date(Date.now() + 2000).toUTCString() }), 1000],
      [() => ({ ratelimit: '"resolvers";r=0;t=1' }), 1000],
    ] as const) {
      await rm(home, { recursive: true, force: true });
      hub.fault = failing(429, headersOf(), 1);
      const began = performance.now();
      assertWhole(await obtain());
      assert.ok(performance.now() - began >= least);
    }
    hub.fault = failing(429, { "retry-after": "3600" }, 1000);
    await rm(home, { recursive: true });
    await assert.rejects(
      obtain(),
      failure(/too many requests\); run this again in 3600 s, or give a token in HF_TOKEN/),
    );
  });

  test("that ignores a range starts the file over; one that sends another is not believed", async () => {
    const { body } = { body: full[transformer] as Buffer };
    let times = 0;
    const cut = cutTransformer(50_000, 1);
    hub.fault = (asked, response) => {
      const first = cut(asked, response);
      if (first || !asked.cdn || !asked.headers.range) return first;
      const wrong = times++ === 0;
      response.writeHead(wrong ? 206 : 200, wrong ? { "content-range": "bytes 7-299999/300000" } : {});
      response.end(wrong ? body.subarray(7) : body);
      return true;
    };
    assertWhole(await obtain());
    assert.equal(times, 2);
  });

  test("whose bytes are not what their hash says is not believed", async () => {
    const flip = (bytes: Buffer): Buffer => {
      bytes[5]! ^= 1;
      return bytes;
    };
    for (const file of [transformer, "scheduler/scheduler_config.json"]) {
      const hash = etagOf(file, Buffer.from(full[file]!));
      hub.fault = ({ path }) => (path.endsWith(hash) || path.endsWith(file) ? { body: flip } : undefined);
      if (!file.endsWith(".json")) {
        await assert.rejects(obtain(), failure(/another content than its hash says/));
        assert.ok(!existsSync(join(root(), "blobs", hash)));
      }
    }
    hub.forget();
    assertWhole(await obtain());
  });

  test("resumes what is damaged here only to find out, and starts over", async () => {
    const blob = join(root(), "blobs", etagOf(transformer, full[transformer] as Buffer));
    await mkdir(join(root(), "blobs"), { recursive: true });
    await writeFile(`${blob}.incomplete`, Buffer.alloc(123_456));
    assertWhole(await obtain());
    assert.deepEqual(rangesOfTransformer(), ["bytes=123456-", undefined]);
    await rm(join(root(), "snapshots"), { recursive: true });
    await writeFile(blob, "short");
    await writeFile(`${blob}.incomplete`, Buffer.alloc(400_000));
    assertWhole(await obtain());
  });

  test("where main moves meanwhile gives one commit whole", async () => {
    const { main } = hub.repositories[name]!.refs;
    const moved = newCommit();
    hub.repositories[name]!.commits[moved] = { ...full, "vae/config.json": "{}", [transformer]: "x" };
    hub.fault = ({ path }) => {
      if (path.includes("/resolve/")) hub.repositories[name]!.refs.main = moved;
      return undefined;
    };
    const found = await obtain();
    assert.equal(found.revision, main);
    assertWhole(found);
  });

  test("where a file changes under its name is listed anew, once", async () => {
    const hosted = hub.repositories[name]!;
    const { main } = hosted.refs as { main: string };
    const other = weights(200_000, 53);
    hub.fault = ({ path }) => {
      if (path.endsWith(transformer)) hosted.commits[main] = { ...full, [transformer]: other };
      return undefined;
    };
    assertWhole(await obtain(), { ...needed, [transformer]: other });
    await rm(home, { recursive: true });
    let n = 60;
    hub.fault = ({ path }) => {
      if (path.endsWith(transformer)) hosted.commits[main] = { ...full, [transformer]: weights(1000, n++) };
      return undefined;
    };
    await assert.rejects(obtain(), failure(/is changing on the Hub during the download/));
  });

  test("that fails for one file ends the others, in whatever state they are", async () => {
    for (let i = 0; i < 12; i++) {
      await rm(home, { recursive: true, force: true });
      const refusal = new Promise<void>((resolve) => {
        hub.fault = ({ path }, response) => {
          if (!path.endsWith(transformer)) return undefined;
          setTimeout(() => {
            response.writeHead(404).end();
            resolve();
          }, i);
          return true;
        };
      });
      const ended = assert.rejects(obtain(), failure(/no such repository/));
      await refusal;
      const late = sleep(60_000, undefined, { ref: false }).then(() => assert.fail("it did not end"));
      await Promise.race([ended, late]);
    }
  });

  test("that is no Hub, or means harm, is found out", async () => {
    hub.fault = (_, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Welcome</html>");
      return true;
    };
    await assert.rejects(obtain(), failure(/does not answer as the Hugging Face Hub does.*HF_ENDPOINT/));
    const entry = { type: "file", oid: "a".repeat(40), size: 1, path: "transformer/config.json" };
    for (const bad of [{ path: "transformer/../../../../evil.json" }, { oid: "../../evil" }, { size: -1 }]) {
      hub.fault = ({ path }, response) => {
        if (!path.includes("/tree/")) return undefined;
        response.writeHead(200, { "content-type": "application/json" }).end(json([{ ...entry, ...bad }]));
        return true;
      };
      await assert.rejects(obtain(), failure(/does not answer as the Hugging Face Hub does/));
    }
    await assert.rejects(
      obtain({}, { env: { HF_HOME: home, HF_ENDPOINT: "hub.example" } }),
      failure(/HF_ENDPOINT: "hub\.example" is not an address/),
    );
    await assert.rejects(obtain({ revision: "../../x" }), failure(/cannot be a branch, tag or commit/));
  });
});

describe("a disk", () => {
  beforeEach(() => hub.host(name, full));

  test("that fills up is said so; the next run goes on", { skip: process.platform !== "linux" }, async () => {
    const blob = join(root(), "blobs", etagOf(transformer, full[transformer] as Buffer));
    await mkdir(join(root(), "blobs"), { recursive: true });
    // Every write to it finds no space.
    await symlink("/dev/full", `${blob}.incomplete`);
    await assert.rejects(obtain(), failure(/the disk of .* is full; make room, or set HF_HOME/));
    assert.ok(!existsSync(blob));
    await rm(`${blob}.incomplete`);
    assertWhole(await obtain());
  });

  test("that is not there is said so", async () => {
    const link = join(home, "cache");
    await symlink(join(home, "unplugged", "cache"), link);
    const nowhere = { env: { HF_HOME: link, HF_ENDPOINT: hub.endpoint } };
    await assert.rejects(
      obtain({}, nowhere),
      failure(/cache.* cannot be made \(E\w+\); set HF_HOME to a folder/),
    );
  });

  const linux = { skip: process.platform !== "linux", timeout: 120_000 };
  test("in a place that takes no folders is said so", linux, async () => {
    const nowhere = { env: { HF_HOME: "/proc/none/of/this", HF_ENDPOINT: hub.endpoint } };
    await assert.rejects(
      obtain({}, nowhere),
      failure(/\/proc\/none cannot be made \(ENOENT\); set HF_HOME to a folder/),
    );
  });

  test("that is too small is found out before", async () => {
    hub.fault = ({ path }) =>
      path.includes("/tree/")
        ? { body: (bytes) => Buffer.from(bytes.toString().replaceAll('"size":300000', '"size":3e15')) }
        : undefined;
    await assert.rejects(obtain(), failure(/needs 3000000\.\d GB and the disk of .* has \d+\.\d GB/));
    assert.ok(!hub.resolved().includes(transformer));
  });
});

describe("access", () => {
  const withToken = (token: string): NodeJS.ProcessEnv => ({ ...environment(), HF_TOKEN: token });

  test("that is gated says what to accept, where, and how to give a token", async () => {
    hub.host(name, full, { gated: true });
    const page = `${hub.endpoint}/${name}`;
    await assert.rejects(obtain(), (error) => {
      failure(/gated: accept the terms at .*make a token at .*settings\/tokens.*HF_TOKEN.*hf auth login/)(
        error,
      );
      assert.ok((error as Error).message.includes(page));
      return true;
    });
    assert.deepEqual(hub.resolved(), ["transformer/config.json"]);
    await assert.rejects(
      obtain({}, { env: withToken(poorToken) }),
      failure(/account of the token in HF_TOKEN has not been let in: accept the terms at/),
    );
    assertWhole(await obtain({}, { env: withToken(goodToken) }));
  });

  test("to what is not there, private, or without a right token is refused in words", async () => {
    hub.host(name, full, { private: true });
    await assert.rejects(obtain(), failure(/no such repository at .*or it is private.*make a token/));
    await assert.rejects(
      obtain({}, { env: withToken(poorToken) }),
      failure(/no such repository.*check the name$/),
    );
    await assert.rejects(
      obtain({}, { env: withToken("hf_old") }),
      failure(/does not accept the token of HF_TOKEN/),
    );
    assertWhole(await obtain({}, { env: withToken(goodToken) }));
    hub.host(name, full);
    await assert.rejects(obtain({ revision: "v9" }), failure(/no revision v9/));
    hub.fault = (_, response) => {
      response.writeHead(403, { "x-error-message": "Access to this resource is disabled." }).end();
      return true;
    };
    await assert.rejects(
      obtain({ revision: "v9" }),
      failure(/refuses access \(Access to this resource is disabled\.\)/),
    );
  });

  test("is with the token of the variables or of the file that hf writes", async () => {
    const token = (env: NodeJS.ProcessEnv): string | undefined =>
      hubSettings({ HF_HOME: home, ...env }).token?.value;
    assert.equal(token({}), undefined);
    await writeFile(join(home, "token"), "from-home\n");
    await writeFile(join(home, "other"), "from-path");
    assert.equal(token({}), "from-home");
    assert.equal(token({ HF_TOKEN_PATH: join(home, "other") }), "from-path");
    assert.equal(token({ HF_TOKEN: " from-env\n", HF_TOKEN_PATH: join(home, "other") }), "from-env");
    assert.equal(token({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }), undefined);
    assert.deepEqual(
      ["1", "yes", "TRUE", "on", "0", "", "no"].map(
        (value) => hubSettings({ HF_HUB_OFFLINE: value }).offline,
      ),
      [true, true, true, true, false, false, false],
    );
    assert.equal(
      hubSettings({ HF_ENDPOINT: "https://mirror.example/hub/" }).endpoint,
      "https://mirror.example/hub",
    );
  });
});

describe("offline", () => {
  test("says what is missing", async () => {
    hub.host(name, full);
    const offline = { ...environment(), HF_HUB_OFFLINE: "1" };
    await assert.rejects(
      obtain({}, { env: offline }),
      failure(/neither a folder nor, at revision main, in .*HF_HUB_OFFLINE is set/),
    );
    await assert.rejects(obtain({}, { offline: true }), failure(/offline was requested/));
    const { folder } = await obtain();
    await rm(join(folder, "vae/config.json"));
    await rm(join(folder, "text_encoder_2/model-00002-of-00002.safetensors"));
    await rm(join(folder, "tokenizer"), { recursive: true });
    await assert.rejects(
      obtain({}, { env: offline }),
      failure(
        /only part of revision main, without vae\/config\.json, tokenizer\/vocab\.json, tokenizer\/merges\.txt, tokenizer\/tokenizer_config\.json, text_encoder_2\/model-00002-of-00002\.safetensors, and/,
      ),
    );
    hub.forget();
    assertWhole(await obtain());
    // Their blobs are still there.
    assert.deepEqual(hub.resolved(), []);
  });
});

describe("another kind of model", () => {
  const transformerWith = (channels: number): Files => ({
    ...full,
    "transformer/config.json": json({ _class_name: "FluxTransformer2DModel", in_channels: channels }),
  });
  const redux = {
    "model_index.json": json({ _class_name: "FluxPriorReduxPipeline" }),
    "image_embedder/model.safetensors": "x",
  };
  for (const [what, files, message, repository = name] of [
    ["FLUX.1 dev", transformerWith(64), /FLUX\.1 dev or schnell, which takes no depth map/],
    ["FLUX.1 Fill", transformerWith(384), /FLUX\.1 Fill, which takes a mask/],
    ["FLUX.1 Redux", redux, /FLUX\.1 Redux, which varies images/],
    ["FLUX.1 Canny", full, /FLUX\.1 Canny, which takes edges/, "someone/FLUX.1-Canny-dev"],
    [
      "Depth Pro",
      { "config.json": json({ model_type: "depth_pro" }), "model.safetensors": "x" },
      /this is Depth Pro/,
    ],
    [
      "Stable Diffusion",
      { ...full, "model_index.json": json({ _class_name: "StableDiffusionPipeline" }) },
      /StableDiffusionPipeline, not for FLUX/,
    ],
    ["one checkpoint file", { "flux1-depth-dev.safetensors": "x", "README.md": "x" }, /no model_index\.json/],
  ] as const)
    test(`is named before its weights are downloaded: ${what}`, async () => {
      hub.host(repository, files);
      await assert.rejects(obtain({ model: repository }), failure(message));
      assert.ok(!hub.resolved().some((file) => file.endsWith(".safetensors")));
    });

  test("is named for Depth Pro too", async () => {
    hub.host(name, full);
    await assert.rejects(
      obtain({}, { kind: kindFor.depth }),
      failure(/repository of a diffusion model, not Depth Pro/),
    );
    hub.host(name, { "config.json": json({ model_type: "dpt" }), "model.safetensors": "x" });
    await assert.rejects(obtain({}, { kind: kindFor.depth }), failure(/a model of type dpt, not Depth Pro/));
    assert.ok(!hub.resolved().some((file) => file.endsWith(".safetensors")));
  });
});

describe("the command line", () => {
  const tiny = Object.fromEntries(
    readdirSync(tinyWorld, { recursive: true, encoding: "utf8" })
      .filter((file) => !lstatSync(join(tinyWorld, file)).isDirectory())
      .map((file) => [file, readFileSync(join(tinyWorld, file))]),
  );
  const run = async (
    argv: readonly string[],
    env: NodeJS.ProcessEnv,
    watch: (stderr: string, kill: () => void) => void = () => {},
  ): Promise<{ code: number | null; stdout: string; stderr: string }> => {
    const child = spawn(process.execPath, [bin, ...argv], { cwd: home, env: { ...process.env, ...env } });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => {
      stdout += text;
    });
    child.stderr.on("data", (text) => {
      stderr += text;
      watch(stderr, () => child.kill("SIGKILL"));
    });
    const [code] = await once(child, "close");
    return { code, stdout, stderr };
  };
  const generate = [
    "generate",
    "-m",
    name,
    "--prompt",
    "a cube",
    "-q",
    "none",
    "--width",
    "64",
    "--height",
    "64",
    "--steps",
    "1",
  ];
  const map = ["--depth-image-path", image("portrait_depth.png")];

  test("downloads, is killed, goes on, makes a picture, and makes the next without a network", async () => {
    hub.host(name, { ...tiny, "flux1-depth-dev.safetensors": weights(9_000, 3) });
    const bytes = tiny[transformer]!;
    const hash = etagOf(transformer, bytes);
    hub.fault = ({ cdn, path: asked }, response) => {
      if (!cdn || !asked.endsWith(hash)) return undefined;
      response.writeHead(200, { "content-length": `${bytes.length}` }).write(bytes.subarray(0, 8_000_000));
      return true;
    };
    let killing = false;
    const killed = await run([...generate, ...map], environment(), (stderr, kill) => {
      if (killing || !/downloading someone\/tiny, \d+\.\d MB of 20\.\d MB/.test(stderr)) return;
      killing = true;
      void untilWritten(partOf(hash), 8_000_000).then(kill);
    });
    assert.equal(killed.code, null);
    const offline = { ...environment(), HF_HUB_OFFLINE: "1" };
    const refused = await run([...generate, ...map], offline);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /^someone\/tiny: the Hugging Face cache .* only part .* transformer\/\*\.safetensors/,
    );

    hub.forget();
    const made = await run(
      [...generate, "--image-path", image("portrait.png"), "--seed", "3"],
      environment(),
    );
    assert.deepEqual([made.code, made.stdout], [0, "image.png\n"], made.stderr);
    const range = hub.asked.find(({ cdn, path: asked }: Asked) => cdn && asked.endsWith(hash))?.headers.range;
    assert.ok(Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]) > 0);
    assert.ok(!hub.resolved().includes("flux1-depth-dev.safetensors"));

    hub.forget();
    const again = await run(
      ["depth", image("portrait.png"), "--depth-model", name, "--offline"],
      environment(),
    );
    assert.deepEqual([again.code, again.stdout], [0, "portrait_depth.png\n"], again.stderr);
    const next = await run([...generate, "--image-path", image("portrait.png"), "--seed", "3"], offline);
    assert.equal(next.code, 0, next.stderr);
    const pixels = (file: string): Promise<Buffer> => sharp(join(home, file)).raw().toBuffer();
    assert.deepEqual(await pixels("image_1.png"), await pixels("image.png"));
    assert.deepEqual(hub.asked, []);
  });
});
