import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, sep } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { type Asked, etagOf, type Files, HubServer } from "../support/hub-server.js";
import { at } from "../support/tensors.js";
import { untilWritten } from "../support/waiting.js";

const bin = at("bin/mflux-depth.js");
const photo = at("../../examples/images/portrait.png");
const name = "someone/tiny";

/** The files of the bundled model under `folder`. */
function bundled(folder = ""): Record<string, Buffer> {
  const root = join(at("models/tiny-world"), folder);
  return Object.fromEntries(
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((file) => [file.slice(root.length + 1).replaceAll(sep, "/"), readFileSync(file)]),
  );
}
const whole = bundled();
const depthPro = bundled("depth_pro");
const flux = Object.fromEntries(Object.entries(whole).filter(([file]) => !file.startsWith("depth_pro/")));
const transformer = "transformer/diffusion_pytorch_model.safetensors";

let hub: HubServer;
let home: string;
before(async () => {
  hub = await HubServer.start();
});
after(() => hub[Symbol.asyncDispose]());
beforeEach(async () => {
  hub.forget();
  home = await mkdtemp(join(tmpdir(), "mflux-depth-download-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** Runs the command line with a separate cache. */
async function run(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
  watch: (stderr: string, stop: () => void) => void = () => {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [bin, ...argv], {
    cwd: home,
    env: { ...process.env, HF_HOME: join(home, "hf"), HF_ENDPOINT: hub.endpoint, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
    watch(stderr, () => child.kill("SIGINT"));
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

const request = ["--prompt", "a cube", "--width", "64", "--height", "64", "--steps", "1", "-q", "none"];
const generate = (...argv: string[]): string[] => ["generate", "-m", name, ...request, ...argv];
const map = ["--depth-image", at("../../examples/images/portrait_depth.png")];

const snapshotOf = (repository: string, commit: string): string =>
  join(home, "hf", "hub", `models--${repository.replace("/", "--")}`, "snapshots", commit);

/** The files requested of all repositories, each once. */
const fetched = (): string[] => [...new Set(hub.resolved())].sort();

const host = (files: Files): string =>
  hub.host(name, { ...files, "flux1-depth-dev.safetensors": "x", "README.md": "x" });

describe("download", () => {
  test("fetches the files that generate fetches", async () => {
    const commit = host(flux);
    assert.equal((await run(generate(...map))).code, 0);
    const asGenerate = fetched();
    await rm(join(home, "hf"), { recursive: true });
    hub.forget();

    const { code, stdout, stderr } = await run(["download", "-m", name]);
    assert.deepEqual([code, stdout], [0, `${snapshotOf(name, commit)}\n`], stderr);
    assert.match(stderr, /downloading someone\/tiny, [\d.]+ MB of 1[\d.]+ MB/);
    assert.deepEqual(fetched(), asGenerate);
    assert.ok(asGenerate.includes(transformer) && !asGenerate.includes("flux1-depth-dev.safetensors"));
  });

  test("leaves nothing to fetch for itself and for generate", async () => {
    const commit = host(flux);
    assert.equal((await run(["download", "-m", name, "--quiet"])).code, 0);
    hub.forget();
    const again = await run(["download", "-m", name, "--json"]);
    assert.deepEqual([again.code, again.stderr], [0, ""]);
    assert.deepEqual(JSON.parse(again.stdout), {
      model: name,
      kind: "FLUX.1 Depth",
      folder: snapshotOf(name, commit),
    });
    const made = await run(generate(...map), { HF_HUB_OFFLINE: "1" });
    assert.equal(made.code, 0, made.stderr);
    assert.deepEqual(hub.asked, []);
  });

  test("fetches Depth Pro on request, and the configs of a model saved by mflux", async () => {
    const commit = host(flux);
    const depthCommit = hub.host("someone/depth", { ...depthPro, "depth_pro.pt": "x" });
    hub.host("someone/configs", whole);
    const flags = ["-m", name, "--depth-model", "someone/depth", "--config-from", "someone/configs"];
    const { code, stdout, stderr } = await run(["download", ...flags, "--json", "--quiet"]);
    assert.deepEqual([code, stderr], [0, ""]);
    const models = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, string>);
    assert.deepEqual(
      models.map(({ model, kind }) => [model, kind]),
      [
        [name, "FLUX.1 Depth"],
        ["someone/configs", "FLUX.1 configs"],
        ["someone/depth", "Depth Pro"],
      ],
    );
    assert.deepEqual(
      [models[0]!.folder, models[2]!.folder],
      [snapshotOf(name, commit), snapshotOf("someone/depth", depthCommit)],
    );
    hub.forget();
    const made = await run(generate("--image", photo, "--depth-model", "someone/depth"), {
      HF_HUB_OFFLINE: "1",
    });
    assert.equal(made.code, 0, made.stderr);
    assert.deepEqual(hub.asked, []);
  });

  test("takes the Depth Pro that the model includes", async () => {
    host(whole);
    const both = await run(["download", "-m", name, "--depth"]);
    assert.deepEqual([both.code, both.stdout.split("\n").length], [0, 2], both.stderr);
    assert.ok(fetched().includes("depth_pro/model.safetensors"));
  });

  test("fetches only Depth Pro with --only-depth, which serves the command depth", async () => {
    hub.host("someone/depth", depthPro);
    const flags = ["--depth-model", "someone/depth"];
    const alone = await run(["download", "--only-depth", ...flags]);
    assert.equal(alone.code, 0, alone.stderr);
    assert.deepEqual(fetched(), Object.keys(depthPro).sort());
    const made = await run(["depth", photo, ...flags, "--offline"]);
    assert.equal(made.code, 0, made.stderr);
  });

  test("stops with Ctrl-C, and resumes where it stopped", async () => {
    const commit = host(flux);
    const bytes = flux[transformer]!;
    const hash = etagOf(transformer, bytes);
    hub.fault = ({ cdn, path }, response) => {
      if (!cdn || !path.endsWith(hash)) return undefined;
      response
        .writeHead(200, { "content-length": `${bytes.length}` })
        .write(bytes.subarray(0, bytes.length / 2));
      return true;
    };
    const part = join(dirname(dirname(snapshotOf(name, commit))), "blobs", `${hash}.incomplete`);
    let stopping = false;
    const stopped = await run(["download", "-m", name], {}, (stderr, stop) => {
      if (stopping || !/downloading someone\/tiny, \d/.test(stderr)) return;
      stopping = true;
      void untilWritten(part, Math.floor(bytes.length / 2)).then(stop);
    });
    assert.deepEqual([stopped.code, stopped.stdout], [130, ""], stopped.stderr);
    assert.match(stopped.stderr, /Stopping …\n$/);
    hub.forget();
    const { code, stderr } = await run(["download", "-m", name]);
    assert.equal(code, 0, stderr);
    const range = hub.asked.find(({ cdn, path }: Asked) => cdn && path.endsWith(hash))?.headers.range;
    assert.ok(Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]) > 0, range);
  });

  const refused: [string, string[], Record<string, string>, number, RegExp][] = [
    ["a repository that does not exist", ["-m", "someone/nothing"], {}, 1, /^someone\/nothing: /],
    ["Depth Pro as the model", ["-m", "someone/depth"], {}, 1, /Depth Pro/],
    ["a download while offline", ["-m", name], { HF_HUB_OFFLINE: "1" }, 1, /HF_HUB_OFFLINE is set/],
    ["an unknown flag", ["--pat", "x"], {}, 2, /--pat/],
    ["an argument without a flag", [name], {}, 2, /is not a flag/],
  ];
  for (const [what, argv, env, wanted, message] of refused)
    test(`refuses ${what} in one sentence`, async () => {
      hub.host("someone/depth", depthPro);
      const { code, stdout, stderr } = await run(["download", ...argv], env);
      assert.deepEqual([code, stdout], [wanted, ""], stderr);
      assert.match(stderr, message);
      assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
    });
});
