import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, mock, test } from "node:test";
import { Engine } from "mflux-depth/engine";
import { pack } from "msgpackr";
import sharp from "sharp";
import { decodeFrame } from "../../src/worker/frames.js";
import { Worker } from "../../src/worker/worker.js";
import {
  type Data,
  engineOf,
  examples,
  execution,
  type Pending,
  SocketHost,
  startWorker,
  steps,
  until,
} from "../support/host.js";
import { goodToken, startHub, tiny, transformer } from "../support/hub.js";

const map = readFileSync(new URL("cube_depth.png", examples));
const depthPro = Object.fromEntries(
  Object.entries(tiny).flatMap(([path, bytes]) =>
    path.startsWith("depth_pro/") ? [[path.slice("depth_pro/".length), bytes]] : [],
  ),
);

const { hub, home, environment: hubEnvironment, stallAt, end: endHub } = await startHub();
const worker = await startWorker({ ...hubEnvironment, NODETOOL_WORKER_TOKEN: "" });
const host = await SocketHost.connect(worker.url);
after(async () => {
  host.drop();
  await worker.stop();
  await endHub();
});
beforeEach(() => hub.forget());

const download = (data: Data, by = host): Pending =>
  by.request("models.download", {
    path: null,
    allow_patterns: null,
    ignore_patterns: null,
    model_type: "hf.flux_depth",
    ...data,
  });
const run = (model: Data, by = host): Pending =>
  by.request("execute", execution({ model, steps: 1 }, { blobs: { depth_image: map } }));
const listed = async (): Promise<Data[]> => (await host.ask("models.list_cached")).models as Data[];
/** The size of the files that a model needs. */
const bytesOf = (files: Readonly<Record<string, Uint8Array>>): number =>
  Object.entries(files).reduce(
    (sum, [path, { length }]) => sum + (/(spiece\.model|README\.md)$/.test(path) ? 0 : length),
    0,
  );
const statuses = ({ progress }: Pending): unknown[] => progress.map(({ status }) => status);

// One after another: each leaves the model as the next one needs it.
describe("a downloaded model", () => {
  const bytes = bytesOf(tiny);
  let progress: Pending["progress"];
  let fetched: readonly string[];
  before(async () => {
    hub.host("me/tiny", {
      ...tiny,
      "README.md": "Not needed.",
      "flux1-depth.safetensors": Buffer.alloc(5e6),
    });
    assert.deepEqual(await listed(), []);
    const pending = download({ repo_id: "me/tiny" });
    assert.deepEqual(await pending.answer, { repo_id: "me/tiny", status: "completed" });
    ({ progress } = pending);
    fetched = hub.resolved();
  });

  test("consists of the needed files", () => {
    assert.ok(fetched.length > 0);
    assert.ok(!fetched.some((path) => /README|flux1|spiece/.test(path)));
  });

  test("was reported from start to end", () => {
    assert.deepEqual(progress[0], {
      status: "start",
      repo_id: "me/tiny",
      path: null,
      model_type: "hf.flux_depth",
      downloaded_bytes: 0,
      total_bytes: 0,
      downloaded_files: 0,
      current_files: [],
      total_files: 0,
    });
    const needed = Object.entries(tiny).filter(([path]) => !/(spiece\.model|README\.md)$/.test(path));
    assert.deepEqual(progress.at(-1), {
      ...progress[0],
      status: "completed",
      downloaded_bytes: bytes,
      total_bytes: bytes,
      downloaded_files: needed.length,
      total_files: needed.length,
    });
    const between = progress.slice(1, -1);
    assert.ok(between.every(({ status }) => status === "progress"));
    assert.ok(between.some(({ current_files: files }) => (files as string[]).includes(transformer)));
    const counts = between.map(({ downloaded_bytes: count }) => Number(count));
    assert.deepEqual(
      counts,
      counts.toSorted((a, b) => a - b),
    );
  });

  test("is listed", async () => {
    const [model, ...others] = await listed();
    assert.deepEqual(others, []);
    assert.ok(Number(model!.size_on_disk) > bytes && Number(model!.size_on_disk) < bytes + 1000);
    assert.match(model!.cache_path as string, /models--me--tiny\/snapshots\/[0-9a-f]{40}$/);
    assert.deepEqual(
      { ...model, size_on_disk: 0, cache_path: "" },
      {
        id: "me/tiny",
        type: "hf.flux_depth",
        name: "me/tiny",
        repo_id: "me/tiny",
        path: null,
        cache_path: "",
        allow_patterns: null,
        ignore_patterns: null,
        description: null,
        readme: null,
        size_on_disk: 0,
        downloaded: true,
        pipeline_tag: null,
        tags: null,
        has_model_index: true,
        downloads: null,
        likes: null,
        trending_score: null,
      },
    );
  });

  test("generates without the Hub, and is kept meanwhile", async () => {
    const generation = run({ type: "hf.flux_depth", repo_id: "me/tiny", path: null, variant: null });
    await generation.until(() => true);
    await assert.rejects(host.ask("models.delete", { repo_id: "me/tiny" }), /me\/tiny is in use by a run/);
    await generation.answer;
    assert.deepEqual(hub.asked, []);
  });

  test("is deleted from disk and memory", async () => {
    assert.ok(engineOf(worker.child.pid!));
    assert.deepEqual(await host.ask("models.delete", { repo_id: "me/tiny" }), { deleted: true });
    assert.equal(engineOf(worker.child.pid!), undefined, "the held model is released too");
    assert.deepEqual(readdirSync(join(home, "hub")), [".locks"]);
    assert.deepEqual(await listed(), []);
    assert.deepEqual(await host.ask("models.delete", { repo_id: "me/tiny" }), { deleted: false });
  });

  for (const repo of ["", "../hub", "me/..", 5])
    test(`is not deleted by the name ${JSON.stringify(repo)}`, () =>
      assert.rejects(host.ask("models.delete", { repo_id: repo }), /repository|repo_id/));
});

test("a download that is cancelled, or whose host goes, resumes where it stopped", async () => {
  hub.host("me/slow", tiny);
  stallAt(4e6);
  const cancelled = download({ repo_id: "me/slow" });
  await cancelled.until(({ downloaded_bytes: count }) => Number(count) > 4e6);
  await assert.rejects(host.ask("models.delete", { repo_id: "me/slow" }), /me\/slow is in use/);
  assert.deepEqual(await listed(), [], "an incomplete model is not listed");
  host.send("cancel", {}, cancelled.id);
  assert.deepEqual(await cancelled.answer, { repo_id: "me/slow", status: "cancelled" });
  assert.deepEqual(statuses(cancelled).slice(-1), ["cancelled"]);
  assert.deepEqual(new Set(statuses(cancelled).slice(1, -1)), new Set(["progress"]));
  assert.equal(host.terminal(cancelled.id).length, 1);

  const gone = await SocketHost.connect(worker.url);
  const dropped = download({ repo_id: "me/slow" }, gone);
  await dropped.until(({ status }) => status === "progress");
  // The earlier downloads have been answered and are ending.
  await until(() => storesOf(worker.child.pid!) === 1);
  gone.drop();
  await until(() => storesOf(worker.child.pid!) === 0);

  hub.forget();
  const again = download({ repo_id: "me/slow" });
  assert.equal((await again.answer).status, "completed");
  const ranges = hub.asked.flatMap(({ headers }) => headers.range ?? []);
  assert.ok(
    ranges.some((range) => Number(/\d+/.exec(range)) >= 4e6),
    "resumed",
  );
});

describe("a download that fails", () => {
  before(() => hub.host("me/gated", tiny, { gated: true }));

  const cases: [string, Data, RegExp][] = [
    ["has no repository", { repo_id: "me/nothing" }, /me\/nothing: there is no such repository/],
    ["has no access", { repo_id: "me/gated" }, /me\/gated: access is gated/],
    ["has a wrong token", { repo_id: "me/gated", token: "wrong" }, /does not accept the token/],
    [
      "excludes all files by allowing others",
      { repo_id: "me/gated", token: goodToken, allow_patterns: ["*.bin"] },
      /the patterns exclude all of scheduler, .*; the model needs these folders/,
    ],
    [
      "ignores needed files",
      { repo_id: "me/gated", token: goodToken, ignore_patterns: ["vae/d*"] },
      /vae\/.*or the patterns/,
    ],
    ["names a missing folder", { repo_id: "me/gated", token: goodToken, path: "nowhere" }, /me\/gated/],
    [
      "names a model of another kind",
      { repo_id: "me/gated", token: goodToken, model_type: "hf.depth_estimation", path: "vae" },
      /expected a depth estimator|config/,
    ],
  ];
  for (const [what, data, message] of cases)
    test(`because it ${what} reports its error as progress and as the answer`, async () => {
      const { id, answer, progress } = download(data);
      await assert.rejects(answer, { message });
      assert.match(progress.at(-1)!.error as string, message);
      assert.deepEqual([progress[0]!.status, progress.at(-1)!.status], ["start", "error"]);
      assert.equal(host.terminal(id).length, 1);
    });

  for (const [data, message] of [
    [{}, /^repo_id must be a non-empty string/],
    [{ repo_id: 5 }, /^repo_id must be a string/],
    [{ repo_id: "me/tiny", allow_patterns: [5] }, /allow_patterns must be a list of strings/],
  ] as [Data, RegExp][])
    test(`because of ${JSON.stringify(data)} says what was expected`, () =>
      assert.rejects(download(data).answer, { message }));

  test("leaves nothing that keeps the next one from its files, with a token and patterns", async () => {
    await host.ask("models.delete", { repo_id: "me/gated" });
    hub.forget();
    const allowed = download({ repo_id: "me/gated", token: goodToken, ignore_patterns: ["depth_pro/*"] });
    assert.equal((await allowed.answer).status, "completed");
    assert.ok(!hub.resolved().some((path) => path.startsWith("depth_pro/")));
    assert.deepEqual(await host.ask("models.delete", { repo_id: "me/gated" }), { deleted: true });
  });

  test("does not send a token back", () => assert.ok(!JSON.stringify(host.received).includes(goodToken)));
});

test("a depth estimator is downloaded and listed without a type; another revision of it is not deleted", async () => {
  hub.host("me/depth", depthPro);
  const depth = download({ repo_id: "me/depth", model_type: "hf.depth_estimation" });
  assert.equal((await depth.answer).status, "completed");
  const gone = { repo_id: "me/depth", revision: "another" };
  assert.deepEqual(await host.ask("models.delete", gone), { deleted: false });
  assert.equal((await listed()).find(({ id }) => id === "me/depth")!.type, null);
});

describe("a run of a model by path and variant", () => {
  const variant = Object.fromEntries(
    Object.entries(tiny).map(([path, bytes]) => [`v2/${path.replace(/(?=\.safetensors$)/, ".fp16")}`, bytes]),
  );
  const model = { type: "hf.flux_depth", repo_id: "me/many", path: "v2", variant: "fp16" };
  before(() => hub.host("me/many", variant));

  for (const [what, more, message] of [
    ["without the path", { path: null, variant: null }, /me\/many: .*the repository lacks/],
    ["with patterns that exclude it", { ignore_patterns: ["*.fp16.*"] }, /or the patterns exclude/],
    ["with a path out of the repository", { path: "../v2" }, /leads out of the repository/],
  ] as [string, Data, RegExp][])
    test(`is refused ${what}`, () => assert.rejects(run({ ...model, ...more }).answer, message));

  test("reports its download, and can be cancelled", async () => {
    stallAt(4e6);
    const cancelled = run(model);
    await cancelled.until(({ message }) =>
      /^Downloading me\/many: 0\.0\d of 0\.02 GB, \d+ of \d+ files$/.test(`${message}`),
    );
    // In megabytes: the host shows only the numbers.
    await cancelled.until(
      ({ progress, total }) => Number(progress) >= 4 && total === Math.ceil(bytesOf(variant) / 1e6),
    );
    host.send("cancel", {}, cancelled.id);
    await assert.rejects(cancelled.answer, { message: "cancelled" });
  });

  test("downloads the files under the path, then generates", async () => {
    hub.forget();
    const { answer, progress } = run(model);
    await answer;
    const downloads = progress.filter(({ message }) => /^Downloading me\/many/.test(`${message}`));
    assert.ok(downloads.length > 0);
    for (const { progress: done, total } of downloads) assert.ok(Number(done) <= Number(total));
    assert.deepEqual(steps(progress.filter((data) => !downloads.includes(data))), [[1, 1]]);
    assert.ok(hub.resolved().every((path) => path.startsWith("v2/")));
  });
});

test("a run waits only for the download of its own model, and shares it", async () => {
  hub.host("me/shared", tiny);
  stallAt(4e6);
  const stuck = run({ repo_id: "me/shared" });
  await stuck.until(({ progress, message }) => Number(progress) >= 4 && /me\/shared/.test(`${message}`));
  const waits = run({ repo_id: "me/shared" });
  await waits.until(({ message }) => /^Downloading me\/shared/.test(`${message}`));
  const gone = await SocketHost.connect(worker.url);
  const lost = run({ repo_id: "me/shared" }, gone);
  await lost.until(() => true);
  await until(() => storesOf(worker.child.pid!) === 1);
  await assert.rejects(host.ask("models.delete", { repo_id: "me/shared" }), /in use by a run/);
  await run({ repo_id: "tiny-world" }).answer;
  // Their model is not in memory.
  assert.deepEqual((await host.ask("models.evict")).evicted, ["tiny-world"]);
  gone.drop();

  hub.forget();
  const cancelled = performance.now();
  host.send("cancel", {}, stuck.id);
  await assert.rejects(stuck.answer, { message: "cancelled" });
  // After that it would be ended by force.
  assert.ok(performance.now() - cancelled < 4000);
  await waits.answer;
  const resumed = hub.asked.flatMap(({ headers }) => headers.range ?? []);
  assert.ok(resumed.some((range) => Number(/\d+/.exec(range)) >= 4e6));
  assert.equal(gone.terminal(lost.id).length, 0);
});

test("a run that downloads ends with its job", async () => {
  hub.host("me/other", tiny);
  stallAt(4e6);
  const ended = host.request("execute", {
    ...execution({ model: { repo_id: "me/other" } }, { blobs: { depth_image: map } }),
    job_id: "j",
  });
  await ended.until(({ message }) => /^Downloading me\/other/.test(`${message}`));
  await host.ask("job.end", { job_id: "j", reason: "cancelled" });
  await assert.rejects(ended.answer, { message: "cancelled" });
  await until(() => storesOf(worker.child.pid!) === 0);
});

test("Depth Pro is kept while a run uses it, and downloaded again after it was deleted", async () => {
  const bare = Object.fromEntries(Object.entries(tiny).filter(([path]) => !path.startsWith("depth_pro/")));
  hub.host("me/bare", bare);
  hub.host("apple/DepthPro-hf", depthPro);
  const photo = async (): Promise<Pending> => {
    const image = await sharp(map).resize(64, 64).jpeg().toBuffer();
    return host.request("execute", execution({ model: { repo_id: "me/bare" } }, { blobs: { image } }));
  };
  for (const time of ["first", "second"]) {
    hub.forget();
    const using = await photo();
    await using.until(({ message }) => /^Downloading apple\/DepthPro-hf/.test(`${message}`));
    for (const repository of ["apple/DepthPro-hf", "me/bare"])
      await assert.rejects(host.ask("models.delete", { repo_id: repository }), /is in use by a run/, time);
    await using.answer;
    assert.equal(
      hub.resolved().some((path) => path.startsWith("transformer/")),
      time === "first",
    );
    assert.deepEqual(await host.ask("models.delete", { repo_id: "apple/DepthPro-hf" }), { deleted: true });
  }
  // A run with a depth map does not need Depth Pro.
  const mapped = run({ repo_id: "me/bare" });
  assert.deepEqual(await host.ask("models.delete", { repo_id: "apple/DepthPro-hf" }), { deleted: false });
  await mapped.answer;
});

test("a waiting download reports before its host gives it up", async (context) => {
  hub.host("me/stalled", tiny);
  hub.fault = () => true;
  const engine = new Engine();
  const saved = { ...process.env };
  Object.assign(process.env, hubEnvironment);
  mock.timers.enable({ apis: ["setInterval"] });
  context.after(() => {
    mock.timers.reset();
    process.env = saved;
    return engine.close();
  });
  const frames: Data[] = [];
  let answered = (): void => {};
  const ended = new Promise<void>((resolve) => {
    answered = resolve;
  });
  const connection = new Worker({ transport: "stdio", engine }).connect((payload) => {
    const { type, data } = decodeFrame(payload);
    frames.push(data);
    if (type === "result") answered();
  });
  const request = { type: "models.download", request_id: "d", data: { repo_id: "me/stalled" } };
  connection.receive(pack(request));
  mock.timers.tick(4 * 60_000);
  assert.deepEqual(
    frames.map(({ status }) => status),
    ["start", "progress", "progress", "progress", "progress"],
  );
  connection.receive(pack({ type: "cancel", request_id: "d", data: {} }));
  await ended;
  assert.equal(frames.at(-1)!.status, "cancelled");
});

test("the worker does not load MLX", () => {
  const main = new URL("../../src/worker/main.js", import.meta.url).href;
  const program = `await import(${JSON.stringify(main)}); console.log(process.report.getReport().sharedObjects.join("\\n"));`;
  const objects = execFileSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
  });
  assert.ok(objects.length > 0);
  assert.doesNotMatch(objects, /mlx\.node/);
});

/** The number of a worker's processes that work on the cache. */
function storesOf(pid: number): number {
  const lines = execFileSync("ps", ["-A", "-o", "ppid=,args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => Number(/\d+/.exec(line)) === pid && /engine[\\/]store-host/.test(line))
    .length;
}
