/* The jobs that the page knows, in their latest known state. */
import type { JobObject } from "@mflux-depth/server/contract";
import { batch, type ReadonlySignal, signal } from "@preact/signals";
import { api, RefusedError } from "./api.js";
import { noProgress, type Progress, progressAfter } from "./progress.js";
import { resultOf, type StreamEvent } from "./stream.js";

const known = signal<ReadonlyMap<string, JobObject>>(new Map());
const running = signal<ReadonlyMap<string, Progress>>(new Map());

/** All known jobs, by id. */
export const jobs: ReadonlySignal<ReadonlyMap<string, JobObject>> = known;

/** The progress of a job. Views that read it are kept up to date. */
export const progressOf = (id: string): Progress => running.value.get(id) ?? noProgress;

export const isFinished = ({ state }: JobObject): boolean => state !== "queued" && state !== "running";

/**
 * Records jobs from the server's answers. An ended job stays ended: an answer may be older than the event about the
 * end, yet arrive later.
 */
export function learn(news: readonly JobObject[]): void {
  if (news.length === 0) return;
  const next = new Map(known.value);
  for (const job of news) {
    const before = next.get(job.id);
    if (!before || !isFinished(before) || isFinished(job)) next.set(job.id, job);
  }
  known.value = next;
}

/** Drops a job that no longer exists. */
export function forget(id: string): void {
  known.value = without(known.value, id);
  running.value = without(running.value, id);
}

function without<T>(map: ReadonlyMap<string, T>, id: string): ReadonlyMap<string, T> {
  if (!map.has(id)) return map;
  const next = new Map(map);
  next.delete(id);
  return next;
}

/** Requests a job unless the page knows it. */
export async function meet(id: string): Promise<void> {
  if (!known.value.has(id)) learn([await api.job(id)]);
}

/** Handles an event of the stream. */
export function takeJobEvent(event: StreamEvent): void {
  if (event.event === "queue") return;
  if (event.event === "deleted") {
    forget(event.data.job);
    return;
  }
  const result = resultOf(event);
  if (result) {
    batch(() => {
      learn([result]);
      if (isFinished(result)) running.value = without(running.value, result.id);
    });
    return;
  }
  if (!("job" in event.data)) return;
  const id = event.data.job;
  const job = known.value.get(id);
  if (!job) {
    // Another tab or program made it. If this fails, the next event or connection tries again.
    void meet(id).catch(() => undefined);
    return;
  }
  batch(() => {
    running.value = new Map(running.value).set(id, progressAfter(progressOf(id), event));
    const changes = changesOf(event);
    if (changes) learn([{ ...job, ...changes }]);
  });
}

/** The changes that an event makes to its job. */
function changesOf({ event, data }: StreamEvent): Partial<JobObject> | null {
  switch (event) {
    case "queued":
      return { state: "queued", position: data.position };
    case "started":
      return { state: "running", position: null, worker: data.worker };
    // The job may be known only from an answer written before it started.
    case "load":
    case "stage":
      return { state: "running", position: null };
    case "step":
      return { state: "running", position: null, step: data.step };
    default:
      return null;
  }
}

/** Requests unfinished jobs again, and those that finished while the page was disconnected. */
export async function resyncJobs(): Promise<void> {
  const unfinished = await readUnfinished();
  learn(unfinished);
  const listed = new Set(unfinished.map(({ id }) => id));
  const others = [...known.value.values()].filter((job) => !isFinished(job) && !listed.has(job.id));
  await Promise.all(others.map(({ id }) => readAgain(id)));
}

async function readUnfinished(): Promise<JobObject[]> {
  const found: JobObject[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await api.jobs({ states: ["queued", "running"], limit: 200, ...(cursor && { cursor }) });
    found.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return found;
}

/** Requests a job again, and drops it if it no longer exists. */
export async function readAgain(id: string): Promise<void> {
  try {
    learn([await api.job(id)]);
  } catch (error) {
    if (!isGone(error)) throw error;
    forget(id);
  }
}

/** Whether the server says that there is no such job. */
export const isGone = (error: unknown): boolean => error instanceof RefusedError && error.status === 404;
