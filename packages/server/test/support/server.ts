/* A real server process: `mflux-depth serve` on a free port, with a new data folder and the bundled model. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { JobObject } from "../../src/contract/index.js";
import { ended } from "./events.js";
import { depthMap } from "./pictures.js";
import type { Owner } from "./scope.js";

const at = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
/** The executable. */
export const bin = at("../mflux-depth/bin/mflux-depth.js");

/** A photo. */
export const photo = readFileSync(at("../../examples/images/cube.png"));

/** The model and precision that are fastest to load. */
const fastModel = ["--model", "tiny-world", "-q", "none", "--device", "cpu"];

export interface StartOptions {
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A data folder from before; a new one otherwise. */
  readonly data?: string;
  /** The port to listen on; a free one otherwise. */
  readonly port?: number;
  /** The server is killed when this ends; by default after the tests of the file. */
  readonly owner?: Pick<Owner, "after">;
}

/** A folder that is removed after its owner; by default after the tests of the file. */
export function temporaryFolder(owner: Pick<Owner, "after"> = { after }): string {
  const folder = mkdtempSync(join(tmpdir(), "mflux-depth-server-"));
  owner.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** Waits until a picture that came inside a request is gone from a server's data folder. */
export async function gone(server: TestServer, picture: Uint8Array): Promise<void> {
  const sha256 = createHash("sha256").update(picture).digest("hex");
  const path = join(server.data, "files", sha256.slice(0, 2), sha256);
  for (const deadline = Date.now() + 60_000; existsSync(path); await sleep(20))
    assert.ok(Date.now() < deadline, "the picture is still there");
  assert.equal((await server.fetch(`/v1/blobs/sha256-${sha256}`)).status, 404);
}

export class TestServer {
  readonly child: ChildProcess;
  readonly url: string;
  readonly data: string;
  /** Everything on standard error so far. */
  log = "";
  /** The same of standard output. */
  output = "";

  private constructor(child: ChildProcess, url: string, data: string) {
    this.child = child;
    this.url = url;
    this.data = data;
  }

  /** Starts a server. */
  static async start({
    argv = [],
    env = {},
    owner = { after },
    data = temporaryFolder(owner),
    port = 0,
  }: StartOptions = {}): Promise<TestServer> {
    const child = spawn(
      process.execPath,
      [bin, "serve", "--port", String(port), "--data", data, ...fastModel, ...argv],
      {
        env: { ...process.env, HF_HUB_OFFLINE: "1", ...env },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    owner.after(() => child.kill("SIGKILL"));
    let log = "";
    let output = "";
    let server: TestServer | null = null;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (server) server.output = output;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
      if (server) server.log = log;
    });
    const lines = createInterface(child.stdout);
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${log}`);
    });
    ended.catch(() => {});
    const [url] = (await Promise.race([once(lines, "line"), ended])) as [string];
    server = new TestServer(child, url, data);
    [server.log, server.output] = [log, output];
    return server;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, init);
  }

  /** Sends JSON. */
  send(method: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.fetch(path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** Submits a job and returns it. */
  async submit(changes: JobChanges = {}, path = "/v1/jobs"): Promise<JobObject> {
    const response = await this.send("POST", path, jobBody(changes));
    assert.ok(response.status === 200 || response.status === 202, await response.clone().text());
    return (await response.json()) as JobObject;
  }

  /** Waits for a job to end. */
  finished(id: string): Promise<JobObject> {
    return ended(this, id);
  }

  /** Waits until a job reaches a step. */
  async reached(id: string, step: number): Promise<void> {
    for (const deadline = Date.now() + 120_000; Date.now() < deadline; ) {
      const job = (await (await this.fetch(`/v1/jobs/${id}`)).json()) as JobObject;
      if (job.step >= step) return;
      await sleep(100);
    }
    throw new Error(`the job ${id} has not reached step ${step} within two minutes`);
  }

  /** Sends a signal. @returns the exit code and the signal that ended the process. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<readonly [number | null, NodeJS.Signals | null]> {
    if (this.child.exitCode !== null || this.child.signalCode !== null)
      return [this.child.exitCode, this.child.signalCode];
    const exit = once(this.child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    this.child.kill(signal);
    return exit;
  }
}

const picture = { base64: depthMap.toString("base64") };

/** Fields of a body to add or replace. */
export interface JobChanges {
  readonly request?: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

/** The body of a small, fast job. */
export const jobBody = ({
  request = {},
  ...changes
}: { request?: object } & Record<string, unknown> = {}): object => ({
  kind: "generate",
  request: {
    prompt: "a red cube",
    depth_image: picture,
    width: 32,
    height: 32,
    steps: 2,
    // Attending to padding takes a third of a small image's time.
    max_sequence_length: 16,
    seed: 7,
    ...request,
  },
  ...changes,
});

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

/** The error object of an answer, which must be one. */
export async function errorOf(response: Response): Promise<ErrorAnswer> {
  const { status, headers } = response;
  const body = (await response.json()) as { error: ErrorAnswer["error"] };
  assert.deepEqual(Object.keys(body), ["error"]);
  assert.deepEqual(Object.keys(body.error).sort(), ["code", "message", "param", "type"]);
  assert.doesNotMatch(body.error.message, /\/tmp|\/home|\bat .*:\d+:\d+|node_modules/);
  return { status, headers, error: body.error };
}
