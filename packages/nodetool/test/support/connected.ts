/*
 * A worker with a host, for the tests of one file.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after } from "node:test";
import { type Data, examples, execution, SocketHost, startWorker } from "./host.js";

/** A depth map. */
export const map = readFileSync(new URL("cube_depth.png", examples));

/** The node and job of a run. */
export interface Identity {
  readonly node_id?: string;
  readonly job_id?: string;
}

/** An execution with a depth map. */
export const withMap = (fields: Data = {}, identity: Identity = {}): Data =>
  execution(fields, { blobs: { depth_image: map }, ...identity });

/** Starts a worker and connects a host; both end after the tests of the file. */
export async function startConnected(token = "", env: Record<string, string> = {}) {
  const worker = await startWorker({ NODETOOL_WORKER_TOKEN: token, ...env });
  const connect = (): Promise<SocketHost> =>
    SocketHost.connect(worker.url, token === "" ? {} : { Authorization: `Bearer ${token}` });
  const host = await connect();
  after(async () => {
    host.drop();
    await worker.stop();
  });
  return { worker, host, connect };
}

/** Takes a run to its first step, which needs a working engine, and cancels the rest. */
export async function works(host: SocketHost, identity: Identity = {}): Promise<void> {
  const run = host.request("execute", withMap({ steps: 50 }, identity));
  await run.until(({ progress }) => progress === 1);
  host.send("cancel", {}, run.id);
  await assert.rejects(run.answer, { message: "cancelled" });
}

/** The time until a promise settles, in seconds. */
export async function seconds(promise: Promise<unknown>): Promise<number> {
  const started = performance.now();
  await promise.catch(() => {});
  return (performance.now() - started) / 1000;
}
