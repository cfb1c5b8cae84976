import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import type { MfluxDepthError } from "mflux-depth/errors";
import sharp from "sharp";
import type { JobObject } from "../src/contract/index.js";
import { run, usage } from "../src/main.js";
import { allEvents, eventsOf, type ReceivedEvent } from "./support/events.js";
import { Scope } from "./support/scope.js";
import { bin, jobBody, TestServer, temporaryFolder } from "./support/server.js";
import { longJob, slowSteps } from "./support/slow-steps.js";

/** Runs the command in a process of its own until it ends. */
async function runProcess(
  argv: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [bin, "serve", ...argv]);
  const outputs = Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await once(child, "close");
  const [stdout, stderr] = await outputs;
  return { code, stdout, stderr };
}

/** Runs the command in this process. @throws if it fails or prints anything that nobody collects. */
function runHere(
  argv: readonly string[],
  { env = {}, stdout }: { env?: Readonly<Record<string, string>> | undefined; stdout?: Writable } = {},
): Promise<number> {
  const silent = new Writable({
    write: (chunk, _encoding, done) => done(new Error(`it printed ${chunk}`)),
  });
  return run(argv, {
    stdin: Readable.from([]),
    stdout: stdout ?? silent,
    stderr: silent,
    env: { ...process.env, ...env },
    signal: new AbortController().signal,
  });
}

/** Requires that the command does not start, and says why in a line. */
async function requireRefusal(
  argv: readonly string[],
  { code, message, env }: { code: number; message: RegExp; env?: Readonly<Record<string, string>> },
): Promise<void> {
  const error = await runHere(argv, { env }).then(
    () => assert.fail("it started"),
    (reason: MfluxDepthError) => reason,
  );
  assert.equal(error.exitCode, code, error.message);
  assert.match(error.message, message);
  assert.doesNotMatch(error.message, /\n/);
}

const pixelsOf = async (server: TestServer, { image }: JobObject): Promise<Buffer> =>
  sharp(Buffer.from(await (await server.fetch(image!.url)).arrayBuffer()))
    .raw()
    .toBuffer();

describe("mflux-depth serve", () => {
  const model = new URL("../../../mflux-depth/models/tiny-world", import.meta.url).pathname;
  const owner = new Scope("a-server");
  let server: TestServer;
  before(async () => {
    const data = join(temporaryFolder(owner), "a", "b");
    server = await TestServer.start({ owner, data, argv: ["--allow-model", `ours=${model}`] });
  });
  after(() => owner.end());

  test("prints one line, its address, once it accepts requests", async () => {
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal((await server.fetch("/livez")).status, 200);
    assert.equal(server.output, `${server.url}\n`);
  });

  test("makes its data folder, with files for this user alone", async () => {
    assert.equal((await stat(join(server.data, "session-key"))).mode & 0o077, 0);
  });

  for (const [signal, code] of [
    ["SIGTERM", 0],
    ["SIGINT", 130],
  ] as const)
    test(`ends with ${code} after ${signal}, within ten seconds, while a job runs and events are followed`, async () => {
      const busy = await TestServer.start({ env: slowSteps });
      const job = await busy.submit(longJob);
      const events = allEvents(busy, `/v1/jobs/${job.id}/events`).catch(() => []);
      const waiting = busy.send("POST", "/v1/jobs?wait=100", jobBody());
      await busy.reached(job.id, 1);
      const began = performance.now();
      assert.deepEqual(await busy.stop(signal), [code, null]);
      assert.ok(performance.now() - began < 10_000);
      await events;
      assert.equal((await waiting).status, 202);
      assert.equal(busy.output, `${busy.url}\n`);
      // The log is lines of JSON and nothing else.
      for (const line of busy.log.trim().split("\n")) assert.equal(typeof JSON.parse(line).msg, "string");
    });

  test("knows models of folders by their names alone", async () => {
    const models = await (await server.fetch("/v1/models")).text();
    assert.match(models, /"id":"ours"/);
    assert.doesNotMatch(models, /packages/);
    const job = await server.submit({ load: { model: "ours", quantize: "none" } }, "/v1/jobs?wait=60");
    assert.deepEqual([job.state, job.load.model], ["succeeded", "ours"]);
  });

  describe("refuses to start", () => {
    const cases: [what: string, argv: string[], code: number, message: RegExp][] = [
      ["on another address without a token", ["--host", "0.0.0.0"], 2, /^--host needs a token/],
      ["with an allowed host and no token", ["--allow-host", "a.example"], 2, /^--allow-host needs a token/],
      [
        "on a port that there is not",
        ["--port", "70000"],
        2,
        /^--port must be a whole number from 0 to 65535/,
      ],
      [
        "with an address as an allowed host",
        ["--allow-host", "https://a.example"],
        2,
        /^--allow-host must be a host name without scheme and port/,
      ],
      [
        "with a model that there is not",
        ["--model", "/none"],
        2,
        /^--model names \/none, which does not exist/,
      ],
      [
        "with a LoRA that there is not",
        ["--lora", "./none.safetensors"],
        2,
        /^--lora names \.\/none\.safetensors, which does not exist/,
      ],
      [
        "with a model that can be nothing",
        ["--model", "none"],
        2,
        /^--model names none, which does not exist; give a model's folder or file, or the name of a repo/,
      ],
      [
        "with a LoRA that can be nothing",
        ["--lora", "none.safetensors"],
        2,
        /^--lora names none\.safetensors/,
      ],
      ["with an estimator that can be nothing", ["--depth-model", "none"], 2, /^--depth-model names none/],
      ["with a flag that there is not", ["--prot", "1"], 2, /did you mean --port\?/],
      ["with an argument", ["here"], 2, /takes no other arguments/],
      [
        "without its token file",
        ["--token-file", "/none"],
        2,
        /^The token file \/none cannot be read: it does not exist\.$/,
      ],
      ["with a model without a name", ["--allow-model", "=/x"], 2, /must be a repository or NAME=FOLDER/],
    ];
    for (const [what, argv, code, message] of cases)
      test(what, () => requireRefusal([...argv, "--data", temporaryFolder()], { code, message }));

    test("with an empty token file", async () => {
      const file = join(temporaryFolder(), "token");
      await writeFile(file, "\n");
      await requireRefusal(["--token-file", file], { code: 2, message: /one line/ });
    });

    test("with a token that no header can carry", () =>
      requireRefusal(["--port", "0"], {
        code: 2,
        message: /^The token of MFLUX_DEPTH_TOKEN must be one line of visible ASCII/,
        env: { MFLUX_DEPTH_TOKEN: "two words" },
      }));

    test("in a data folder that is a file", async () => {
      const file = join(temporaryFolder(), "data");
      await writeFile(file, "");
      const message =
        /: The data folder cannot be used: it is a file, not a folder; choose another with --data/;
      await requireRefusal(["--port", "0", "--data", file], { code: 1, message });
    });

    test("on a port in use, with a line on standard error", async () => {
      const outcome = await runProcess(["--port", `${server.port}`, "--data", temporaryFolder()]);
      assert.deepEqual([outcome.code, outcome.stdout], [2, ""]);
      assert.match(outcome.stderr, /is in use; choose another with --port/);
      assert.equal(outcome.stderr.trim().split("\n").length, 1);
    });

    test("in a data folder that another server uses", () =>
      requireRefusal(["--port", "0", "--data", server.data], {
        code: 1,
        message: new RegExp(`^${server.data}: `),
      }));
  });

  describe("as a backup", () => {
    test("is made while the server runs, and is a data folder again", async () => {
      const job = await server.submit({}, "/v1/jobs?wait=60");
      const archive = join(temporaryFolder(), "backup.tar");
      const stdout = new PassThrough();
      assert.equal(await runHere(["--backup", archive, "--data", server.data], { stdout }), 0);
      assert.equal(await text(stdout.end()), `${archive}\n`);
      const data = temporaryFolder();
      await once(spawn("tar", ["-xf", archive, "-C", data]), "close");
      const restored = await TestServer.start({ data });
      const again = (await (await restored.fetch(`/v1/jobs/${job.id}`)).json()) as JobObject;
      assert.deepEqual(again, job);
      assert.deepEqual(await pixelsOf(restored, again), await pixelsOf(server, job));
      await restored.stop();
    });

    test("replaces no file unless it may", async () => {
      const archive = join(temporaryFolder(), "photo.png");
      await writeFile(archive, "a picture");
      const argv = ["--backup", archive, "--data", server.data];
      const message = /photo\.png: exists already; choose another name, or replace it with --overwrite\.$/;
      await requireRefusal(argv, { code: 1, message });
      assert.equal(await readFile(archive, "utf8"), "a picture");
      assert.equal(await runHere([...argv, "--overwrite"], { stdout: new PassThrough() }), 0);
      assert.notEqual((await stat(archive)).size, 9);
    });

    test("to the name of a folder says so", async () => {
      const folder = temporaryFolder();
      const argv = ["--backup", folder, "--overwrite", "--data", server.data];
      await requireRefusal(argv, { code: 1, message: /: is a folder; choose a file name\.$/ });
    });

    test("in a folder that does not exist says so", async () => {
      const folder = join(temporaryFolder(), "none");
      const argv = ["--backup", join(folder, "x.tar"), "--data", server.data];
      await requireRefusal(argv, {
        code: 1,
        message: /: the folder .*none does not exist; create it first\.$/,
      });
    });

    test("of a folder without a ledger says so", async () => {
      const archive = join(temporaryFolder(), "backup.tar");
      const argv = ["--backup", archive, "--data", temporaryFolder()];
      await requireRefusal(argv, { code: 1, message: /no ledger/ });
      assert.ok(!existsSync(archive));
    });
  });
});

describe("a server that is killed", () => {
  const body = jobBody();
  const send = (server: TestServer) =>
    server.send("POST", "/v1/jobs", body, { "idempotency-key": "order-17" });
  const owner = new Scope("killed-servers");
  let second: TestServer;
  let [running, waiting, keyed]: JobObject[] = [];
  /** The events of the waiting job until the server was killed. */
  const seen: ReceivedEvent[] = [];
  let paused: boolean;

  before(async () => {
    const first = await TestServer.start({ owner, env: slowSteps });
    running = await first.submit(longJob);
    // A checkpoint is written once a second at most.
    await first.reached(running.id, 6);
    await first.fetch("/v1/queue/pause", { method: "POST" });
    waiting = await first.submit({ request: { steps: 2, seed: 8 } });
    keyed = (await (await send(first)).json()) as JobObject;
    await readUntilKilled(first, `/v1/jobs/${waiting.id}/events`);
    second = await TestServer.start({ owner, data: first.data });
    ({ paused } = (await (await second.fetch("/v1/queue")).json()) as { paused: boolean });
    await second.fetch("/v1/queue/resume", { method: "POST" });
  });
  after(() => owner.end());

  /** Kills the server at the first event. */
  async function readUntilKilled(server: TestServer, path: string): Promise<void> {
    try {
      for await (const event of eventsOf(await server.fetch(path))) {
        seen.push(event);
        await server.stop("SIGKILL");
      }
    } catch {
      // The connection breaks with the server.
    }
  }

  test("stays paused", () => assert.equal(paused, true));

  test("continues its jobs from their checkpoints, to the same pixels", async () => {
    const [finished, next] = [await second.finished(running!.id), await second.finished(waiting!.id)];
    assert.deepEqual(
      [finished.state, finished.attempt, next.state, next.attempt],
      ["succeeded", 2, "succeeded", 1],
    );
    const events = await allEvents(second, `/v1/jobs/${running!.id}/events?after=0`);
    const resumed = events.find(({ event }) => event === "resumed");
    assert.ok(Number(resumed?.data.from_step) >= 1, JSON.stringify(resumed));

    const plain = await second.submit(longJob, "/v1/jobs?wait=120");
    assert.deepEqual(await pixelsOf(second, finished), await pixelsOf(second, plain));
  });

  test("lets a stream of events continue after the last one that was read", async () => {
    const path = `/v1/jobs/${waiting!.id}/events`;
    const rest = await allEvents(second, path, { "last-event-id": `${seen[0]!.id}` });
    assert.ok(rest.every(({ id }) => id > seen[0]!.id));
    assert.equal(rest.at(-1)!.event, "succeeded");
  });

  test("remembers idempotency keys", async () => {
    const repeat = await send(second);
    assert.deepEqual([repeat.status, ((await repeat.json()) as JobObject).id], [200, keyed!.id]);
  });
});

test("the help names every flag", () => {
  const contract = [
    "--host",
    "--port",
    "--data",
    "--token-file",
    "--allow-host",
    "--model",
    "--quantize",
    "--allow-model",
  ];
  const others = [
    "--max-queue",
    "--keep-days",
    "--keep-gb",
    "--log-prompts",
    "--open",
    "--idle-minutes",
    "--backup",
    "--overwrite",
  ];
  for (const flag of [...contract, ...others]) assert.ok(usage.includes(`  ${flag}`), flag);
});
