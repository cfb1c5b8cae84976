/*
 * Many clients at once, some of whom read slowly.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import type { JobObject, JobPage } from "../../src/contract/index.js";
import { allEvents } from "./events.js";
import { connection } from "./raw.js";
import type { TestServer } from "./server.js";

export interface CrowdOptions {
  readonly jobs: number;
  readonly clients: number;
  /** Called with the number of jobs that have ended. */
  readonly onProgress?: (ended: number) => void;
}

/** The jobs that a client follows at a time: all clients together stay below the 1,000 streams of a server. */
const followedAtOnce = 5;

/** Resident memory of a server, in bytes. */
export const residentBytes = ({ child }: TestServer): number =>
  Number(execFileSync("ps", ["-o", "rss=", "-p", `${child.pid}`], { encoding: "utf8" })) * 1024;

/**
 * Submits jobs from many clients, each of which follows its own. Requires that none is lost, that each stream ends with one
 * event that says so, and that jobs start in the order of their arrival.
 * @returns the server's memory when a third of the jobs had ended, and at the end.
 */
export async function sendCrowd(
  server: TestServer,
  { jobs, clients, onProgress }: CrowdOptions,
): Promise<{ readonly early: number; readonly late: number }> {
  const request = { width: 16, height: 16, steps: 1 };
  const picture = (await server.submit({ request }, "/v1/jobs?wait=120")).request.depth_image;
  let ended = 0;
  let early = 0;
  const client = async (number: number): Promise<JobObject[]> => {
    const mine: JobObject[] = [];
    for (let i = number; i < jobs; i += clients)
      mine.push(await server.submit({ request: { ...request, depth_image: picture, seed: i + 1 } }));
    // Every third client reads nothing until its jobs have ended.
    const follow = number % 3 === 0 ? followLate : followLive;
    const followed = async ({ id }: JobObject): Promise<JobObject> => {
      const job = await follow(server, id);
      ended++;
      if (ended === Math.ceil(jobs / 3)) early = residentBytes(server);
      onProgress?.(ended);
      return job;
    };
    const done: JobObject[] = [];
    for (let i = 0; i < mine.length; i += followedAtOnce)
      done.push(...(await Promise.all(mine.slice(i, i + followedAtOnce).map(followed))));
    return done;
  };
  const made = (await Promise.all(Array.from({ length: clients }, (_, number) => client(number)))).flat();
  assert.equal(made.length, jobs);
  assert.ok(made.every(({ state, attempt }) => state === "succeeded" && attempt === 1));
  await requireOrder(server);
  return { early, late: residentBytes(server) };
}

async function followLive(server: TestServer, id: string): Promise<JobObject> {
  const events = await allEvents(server, `/v1/jobs/${id}/events`);
  const ends = events.filter(({ event }) => ["succeeded", "failed", "cancelled"].includes(event));
  assert.equal(ends.length, 1, `${id}: ${events.map(({ event }) => event)}`);
  assert.equal(events.at(-1), ends[0]);
  return ends[0]!.data.result as JobObject;
}

/** Opens the stream and lets it fill up until the job has ended. */
async function followLate(server: TestServer, id: string): Promise<JobObject> {
  const socket = await connection(server);
  socket.pause();
  socket.write(`GET /v1/jobs/${id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  // Another stream reports the end: polling would keep the server busy.
  await allEvents(server, `/v1/jobs/${id}/events`);
  let text = "";
  for await (const chunk of socket.setEncoding("utf8")) text += chunk;
  assert.match(text, /^event: succeeded\n/m);
  return (await (await server.fetch(`/v1/jobs/${id}`)).json()) as JobObject;
}

/** Requires that jobs of one model and priority start in the order of their arrival. */
async function requireOrder(server: TestServer): Promise<void> {
  const started: string[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const response = await server.fetch(`/v1/jobs?limit=200${cursor && `&cursor=${cursor}`}`);
    const page = (await response.json()) as JobPage;
    started.push(...page.data.map((job) => job.started_at!));
    cursor = page.next_cursor;
  }
  assert.deepEqual(started, [...started].sort().reverse());
}
