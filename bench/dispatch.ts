/* The cost of giving a job to a worker: in one process, and over Redis to workers with separate connections. */
import type { Dispatcher, Offer } from "@mflux-depth/server/internal/dispatch/dispatcher";
import { LocalDispatcher } from "@mflux-depth/server/internal/dispatch/local";
import { RedisDispatcher } from "@mflux-depth/server/internal/dispatch/redis/dispatcher";
import { median, type Row } from "./measure.js";
import { BenchRedis } from "./redis.js";

const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Jobs of three models. */
const jobs = (count: number): readonly Offer[] =>
  Array.from({ length: count }, (_, arrival) => ({
    id: `job${arrival}`,
    priority: 0,
    arrival,
    model: `model ${arrival % 3}`,
    attempt: 0,
  }));

/** Times each step that a job goes through, one job at a time. */
async function steps(api: Dispatcher, worker: Dispatcher): Promise<Omit<Row, "name">> {
  const taken: Record<string, number[]> = { offer: [], claim: [], renew: [], finish: [] };
  const timed = async <T>(name: string, run: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await run();
    taken[name]!.push(performance.now() - began);
    return result;
  };
  const { signal } = new AbortController();
  for (const job of jobs(500)) {
    await timed("offer", () => api.offer(job));
    const claim = await timed("claim", () => worker.claim({ worker: "w", model: null, signal }));
    await timed("renew", () => worker.renew(claim));
    await timed("finish", () => worker.finish(claim));
  }
  return Object.fromEntries(
    Object.entries(taken).map(([name, times]) => [`${name} ms`, round(median(times))]),
  );
}

/** How many jobs per second workers take and finish if they do nothing else. */
async function rate(api: Dispatcher, workers: readonly Dispatcher[]): Promise<Omit<Row, "name">> {
  const all = jobs(1000);
  await Promise.all(all.map((job) => api.offer(job)));
  const end = new AbortController();
  let finished = 0;
  const began = performance.now();
  let taken = 0;
  await Promise.allSettled(
    workers.map(async (worker, index) => {
      for (;;) {
        const claim = await worker.claim({ worker: `w${index}`, model: null, signal: end.signal });
        await worker.finish(claim);
        if (++finished < all.length) continue;
        taken = performance.now() - began;
        end.abort();
      }
    }),
  );
  return { "jobs/s": Math.round((1000 * finished) / taken) };
}

/** How long a job takes to reach one of many waiting workers. */
async function delay(api: Dispatcher, workers: readonly Dispatcher[]): Promise<Omit<Row, "name">> {
  const end = new AbortController();
  const times: number[] = [];
  let offered = 0;
  let reached: () => void = () => {};
  const waiting = workers.map(async (worker, index) => {
    for (;;) {
      const claim = await worker.claim({ worker: `w${index}`, model: null, signal: end.signal });
      times.push(performance.now() - offered);
      await worker.finish(claim);
      reached();
    }
  });
  for (const job of jobs(20)) {
    // Wait until all workers have looked for the last job.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const arrived = new Promise<void>((resolve) => {
      reached = resolve;
    });
    offered = performance.now();
    await api.offer(job);
    await arrived;
  }
  end.abort();
  await Promise.allSettled(waiting);
  return { "median ms": round(median(times)), "longest ms": round(Math.max(...times)) };
}

export async function benchDispatch(): Promise<Row[]> {
  const rows: Row[] = [];
  const local = new LocalDispatcher();
  rows.push({ name: "a job, one process", ...(await steps(local, local)) });
  const redis = await BenchRedis.start();
  const open: RedisDispatcher[] = [];
  const connect = (): RedisDispatcher => {
    const dispatcher = new RedisDispatcher({ url: redis.url });
    open.push(dispatcher);
    return dispatcher;
  };
  try {
    const api = connect();
    const workers = Array.from({ length: 8 }, connect);
    rows.push({ name: "a job, Redis", ...(await steps(api, workers[0]!)) });
    for (const count of [1, 8])
      rows.push({ name: `1000 jobs, ${count} workers`, ...(await rate(api, workers.slice(0, count))) });
    rows.push({ name: "from an offer to a worker, 8 wait", ...(await delay(api, workers)) });
  } finally {
    for (const dispatcher of open) await dispatcher.close();
    await redis.stop();
  }
  return rows;
}
