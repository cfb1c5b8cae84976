import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import sharp from "sharp";
import type { JobObject } from "../src/contract/index.js";
import { allEvents, eventsOf, type ReceivedEvent } from "./support/events.js";
import { bin, jobBody, TestServer, temporaryFolder } from "./support/server.js";
import { longJob, slowSteps } from "./support/slow-steps.js";

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command until it ends. */
async function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const child = spawn(process.execPath, [bin, "serve", ...argv], { env: { ...process.env, ...env } });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

const pixelsOf = async (server: TestServer, { image }: JobObject): Promise<Buffer> =>
  sharp(Buffer.from(await (await server.fetch(image!.url)).arrayBuffer()))
    .raw()
    .toBuffer();

describe("mflux-depth serve", () => {
  test("prints one line, its address, once it accepts requests", async () => {
    const server = await TestServer.start();
    assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal((await server.fetch("/livez")).status, 200);
    await server.stop();
    assert.equal(server.output, `${server.url}\n`);
  });

  test("logs lines of JSON and nothing else", async () => {
    const server = await TestServer.start();
    await server.fetch("/livez");
    await server.stop();
    for (const line of server.log.trim().split("\n")) assert.equal(typeof JSON.parse(line).msg, "string");
  });

  test("makes its data folder, with files for this user alone", async () => {
    const data = join(temporaryFolder(), "a", "b");
    const server = await TestServer.start({ data });
    assert.equal((await stat(join(data, "session-key"))).mode & 0o077, 0);
    await server.stop();
  });

  for (const [signal, code] of [
    ["SIGTERM", 0],
    ["SIGINT", 130],
  ] as const)
    test(`ends with ${code} after ${signal}, within ten seconds, while a job runs and events are followed`, async () => {
      const server = await TestServer.start({ env: slowSteps });
      const job = await server.submit(longJob);
      const events = allEvents(server, `/v1/jobs/${job.id}/events`).catch(() => []);
      const waiting = server.send("POST", "/v1/jobs?wait=100", jobBody());
      await server.reached(job.id, 1);
      const began = performance.now();
      assert.deepEqual(await server.stop(signal), [code, null]);
      assert.ok(performance.now() - began < 10_000);
      await events;
      assert.equal((await waiting).status, 202);
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
      ["with a flag that there is not", ["--prot", "1"], 2, /did you mean --port\?/],
      ["with an argument", ["here"], 2, /takes no other arguments/],
      ["without its token file", ["--token-file", "/none"], 2, /token file cannot be read \(ENOENT\)/],
      ["with a model without a name", ["--allow-model", "=/x"], 2, /must be a repository or NAME=FOLDER/],
    ];
    for (const [what, argv, code, message] of cases)
      test(what, async () => {
        const outcome = await run([...argv, "--data", temporaryFolder()]);
        assert.deepEqual([outcome.code, outcome.stdout], [code, ""]);
        assert.match(outcome.stderr, message);
        assert.equal(outcome.stderr.trim().split("\n").length, 1);
      });

    test("with an empty token file", async () => {
      const file = join(temporaryFolder(), "token");
      await writeFile(file, "\n");
      assert.match((await run(["--token-file", file])).stderr, /one line/);
    });

    test("with a token that no header can carry", async () => {
      const outcome = await run(["--port", "0"], { MFLUX_DEPTH_TOKEN: "two words" });
      assert.equal(outcome.code, 2);
      assert.match(outcome.stderr, /^The token of MFLUX_DEPTH_TOKEN must be one line of visible ASCII/);
    });

    test("in a data folder that is a file", async () => {
      const file = join(temporaryFolder(), "data");
      await writeFile(file, "");
      const outcome = await run(["--port", "0", "--data", file]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /: The data folder cannot be used: .*EEXIST/);
      assert.equal(outcome.stderr.trim().split("\n").length, 1);
    });

    test("on a port in use", async () => {
      const server = await TestServer.start();
      const outcome = await run(["--port", `${server.port}`, "--data", temporaryFolder()]);
      assert.equal(outcome.code, 2);
      assert.match(outcome.stderr, /is in use; choose another with --port/);
      await server.stop();
    });

    test("in a data folder that another server uses", async () => {
      const server = await TestServer.start();
      const outcome = await run(["--port", "0", "--data", server.data]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, new RegExp(`^${server.data}: `));
      assert.equal(outcome.stderr.trim().split("\n").length, 1);
      await server.stop();
    });
  });
});

describe("a server that is killed", () => {
  test("continues its jobs from their checkpoints, to the same pixels", async () => {
    const first = await TestServer.start({ env: slowSteps });
    const job = await first.submit(longJob);
    const waiting = await first.submit({ request: { steps: 2, seed: 8 } });
    // A checkpoint is written once a second at most.
    await first.reached(job.id, 6);
    await first.stop("SIGKILL");

    const second = await TestServer.start({ data: first.data });
    const [finished, next] = [await second.finished(job.id), await second.finished(waiting.id)];
    assert.deepEqual(
      [finished.state, finished.attempt, next.state, next.attempt],
      ["succeeded", 2, "succeeded", 1],
    );
    const events = await allEvents(second, `/v1/jobs/${job.id}/events?after=0`);
    const resumed = events.find(({ event }) => event === "resumed");
    assert.ok(Number(resumed?.data.from_step) >= 1, JSON.stringify(resumed));

    const plain = await second.submit(longJob, "/v1/jobs?wait=120");
    assert.deepEqual(await pixelsOf(second, finished), await pixelsOf(second, plain));
    await second.stop();
  });

  test("lets a stream of events continue after the last one that was read", async () => {
    const first = await TestServer.start();
    await first.fetch("/v1/queue/pause", { method: "POST" });
    const job = await first.submit();
    const path = `/v1/jobs/${job.id}/events`;
    const [queued] = await allEventsUntilKilled(first, path);
    const second = await TestServer.start({ data: first.data });
    assert.equal(((await (await second.fetch("/v1/queue")).json()) as { paused: boolean }).paused, true);
    await second.fetch("/v1/queue/resume", { method: "POST" });
    const rest = await allEvents(second, path, { "last-event-id": `${queued!.id}` });
    assert.ok(rest.every(({ id }) => id > queued!.id));
    assert.equal(rest.at(-1)!.event, "succeeded");
    await second.stop();
  });

  /** Kills the server at the first event. */
  async function allEventsUntilKilled(server: TestServer, path: string): Promise<ReceivedEvent[]> {
    const events: ReceivedEvent[] = [];
    try {
      for await (const event of eventsOf(await server.fetch(path))) {
        events.push(event);
        await server.stop("SIGKILL");
      }
    } catch {
      // The connection breaks with the server.
    }
    return events;
  }

  test("remembers idempotency keys", async () => {
    const first = await TestServer.start();
    const send = (server: TestServer) =>
      server.send("POST", "/v1/jobs", body, { "idempotency-key": "order-17" });
    const body = jobBody();
    const job = (await (await send(first)).json()) as JobObject;
    await first.stop("SIGKILL");
    const second = await TestServer.start({ data: first.data });
    const repeat = await send(second);
    assert.deepEqual([repeat.status, ((await repeat.json()) as JobObject).id], [200, job.id]);
    await second.stop();
  });
});

describe("a backup", () => {
  test("is made while the server runs, and is a data folder again", async () => {
    const server = await TestServer.start();
    const job = await server.submit({}, "/v1/jobs?wait=60");
    const archive = join(temporaryFolder(), "backup.tar");
    assert.deepEqual(await run(["--backup", archive, "--data", server.data]), {
      code: 0,
      stdout: "",
      stderr: "",
    });
    await server.stop();
    const data = temporaryFolder();
    const tar = spawn("tar", ["-xf", archive, "-C", data]);
    await once(tar, "close");
    const restored = await TestServer.start({ data });
    const again = (await (await restored.fetch(`/v1/jobs/${job.id}`)).json()) as JobObject;
    assert.deepEqual(again, job);
    assert.deepEqual(await pixelsOf(restored, again), await pixelsOf(restored, job));
    await restored.stop();
  });

  test("of a folder without a ledger says so", async () => {
    const archive = join(temporaryFolder(), "backup.tar");
    const { code, stderr } = await run(["--backup", archive, "--data", temporaryFolder()]);
    assert.equal(code, 1);
    assert.match(stderr, /no ledger/);
    assert.ok(!existsSync(archive));
  });
});

test("models of folders are known by their names alone", async () => {
  const folder = new URL("../../../mflux-depth/models/tiny-world", import.meta.url).pathname;
  const server = await TestServer.start({ argv: ["--allow-model", `ours=${folder}`] });
  const models = await (await server.fetch("/v1/models")).text();
  assert.match(models, /"id":"ours"/);
  assert.doesNotMatch(models, /packages/);
  const job = await server.submit({ load: { model: "ours", quantize: "none" } }, "/v1/jobs?wait=60");
  assert.deepEqual([job.state, job.load.model], ["succeeded", "ours"]);
  await server.stop();
});

test("the help names every flag", async () => {
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
  ];
  const { stdout } = await run(["--help"]);
  for (const flag of [...contract, ...others]) assert.ok(stdout.includes(`  ${flag}`), flag);
});
