/*
 * What waits and runs, and who works on it.
 */
import type { JobObject, WorkerObject } from "@mflux-depth/server/contract";
import { computed, signal } from "@preact/signals";
import { api } from "./api.js";
import { jobs, learn } from "./jobs.js";
import type { StreamEvent } from "./stream.js";

export const isPaused = signal(false);
/** Null until the server has been asked. */
export const workers = signal<readonly WorkerObject[] | null>(null);

/** The running jobs, then the waiting ones in the order in which they start. */
export const queue = computed<readonly JobObject[]>(() => {
  const all = [...jobs.value.values()];
  const oldestFirst = (a: JobObject, b: JobObject): number => a.created_at.localeCompare(b.created_at);
  return [
    ...all.filter(({ state }) => state === "running").sort(oldestFirst),
    ...all
      .filter(({ state }) => state === "queued")
      .sort((a, b) => b.priority - a.priority || oldestFirst(a, b)),
  ];
});

export function takeQueueEvent({ event, data }: StreamEvent): void {
  if (event === "queue") isPaused.value = data.paused;
}

export async function resyncQueue(): Promise<void> {
  isPaused.value = (await api.queue()).paused;
}

/** Counts the requests for the workers: answers to earlier ones are dropped. */
let workersAsked = 0;

export async function readWorkers(): Promise<void> {
  const mine = ++workersAsked;
  const answer = await api.workers();
  if (mine === workersAsked) workers.value = answer;
}

export async function setPaused(paused: boolean): Promise<void> {
  isPaused.value = (await (paused ? api.pauseQueue() : api.resumeQueue())).paused;
}

/** Stops a job; a running one ends within a step. */
export async function cancel(id: string): Promise<void> {
  learn([await api.cancel(id)]);
}

/** Moves a waiting job one place up or down by giving it a priority next to its neighbour's. */
export async function move(id: string, direction: "up" | "down"): Promise<void> {
  const changes = prioritiesAfterMove(
    queue.value.filter(({ state }) => state === "queued"),
    id,
    direction,
  );
  learn(await Promise.all(changes.map(({ id: moved, priority }) => api.update(moved, { priority }))));
}

const highestPriority = 100;

export interface PriorityChange {
  readonly id: string;
  readonly priority: number;
}

/**
 * The priorities that swap a job with its neighbour. Jobs of equal priority start in order of arrival, so neighbours of
 * equal priority are swapped by giving them different ones.
 */
export function prioritiesAfterMove(
  waiting: readonly { readonly id: string; readonly priority: number; readonly created_at: string }[],
  id: string,
  direction: "up" | "down",
): PriorityChange[] {
  const from = waiting.findIndex((job) => job.id === id);
  const to = from + (direction === "up" ? -1 : 1);
  if (from < 0 || to < 0 || to >= waiting.length) return [];
  const order = [...waiting];
  [order[from], order[to]] = [order[to]!, order[from]!];
  // From the end: raise a priority only where the job would otherwise not come before the next one.
  const wanted = new Map<string, number>();
  for (const [i, job] of [...order.entries()].reverse()) {
    const next = order[i + 1];
    const enough = next ? wanted.get(next.id)! + (job.created_at < next.created_at ? 0 : 1) : job.priority;
    wanted.set(job.id, Math.min(highestPriority, Math.max(job.priority, enough)));
  }
  return waiting
    .map((job) => ({ id: job.id, priority: wanted.get(job.id)!, before: job.priority }))
    .filter(({ priority, before }) => priority !== before)
    .map(({ id: changed, priority }) => ({ id: changed, priority }));
}

/** Lets a worker finish its job and take no other, or work again. */
export async function setDraining(id: string, draining: boolean): Promise<void> {
  await (draining ? api.drain(id) : api.resume(id));
  await readWorkers();
}
