/* The HTTP server in a separate process with the bundled model, and clients in this one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine } from "mflux-depth/engine";
import { inTurn, median, type Row, timed } from "./measure.js";
import { call, depthMap, load, residentBytes, type Server, start, stop } from "./serve.js";

const small = { prompt: "a red cube", width: 128, height: 128, steps: 4, seed: 7 };

const startOn = (data: string): Promise<Server> => start({ data, flags: ["--max-queue", "100000"] });

interface Job {
  readonly id: string;
  readonly state: string;
  readonly step: number;
}

const bodyOf = (request: object = small): object => ({
  kind: "generate",
  request: { depth_image: { base64: depthMap.toString("base64") }, ...request },
});

/** Requests per second, from eight clients at a time. */
async function requestsPerSecond(send: () => Promise<unknown>): Promise<Row> {
  const clients = 8;
  const durationMs = 3000;
  const latencies: number[] = [];
  const began = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() - began < durationMs) {
        const sent = performance.now();
        await send();
        latencies.push(performance.now() - sent);
      }
    }),
  );
  const taken = (performance.now() - began) / 1000;
  return {
    name: "",
    "requests/s": Math.round(latencies.length / taken),
    "median ms": round(median(latencies)),
  };
}

const round = (value: number): number => Math.round(value * 100) / 100;

export async function benchServer(): Promise<Row[]> {
  const data = mkdtempSync(join(tmpdir(), "mflux-depth-bench-"));
  let server = await startOn(data);
  const rows: Row[] = [];
  try {
    // Loads the model.
    const { id } = await call<Job>(server, "POST", "/v1/jobs?wait=300", bodyOf());
    for (const [name, send] of Object.entries({
      "GET /livez": () => call(server, "GET", "/livez"),
      "GET /v1/queue": () => call(server, "GET", "/v1/queue"),
      "GET /v1/jobs/:id": () => call(server, "GET", `/v1/jobs/${id}`),
      "GET /v1/jobs/:id/image": () => call(server, "GET", `/v1/jobs/${id}/image`),
    }))
      rows.push({ ...(await requestsPerSecond(send)), name });

    rows.push(await overhead(server));

    await call(server, "POST", "/v1/queue/pause");
    const blob = await call<Job & { request: { depth_image: object } }>(server, "GET", `/v1/jobs/${id}`);
    const queued = { kind: "generate", request: { ...small, depth_image: blob.request.depth_image } };
    const waiting = async (): Promise<number> =>
      (await call<{ queued: number }>(server, "GET", "/v1/queue")).queued;
    const submit = () => requestsPerSecond(() => call(server, "POST", "/v1/jobs", queued));
    rows.push({ ...(await submit()), name: "POST /v1/jobs" });
    // The first jobs also made the heap grow to its working size.
    const [firstCount, firstBytes] = [await waiting(), residentBytes(server.child)];
    await submit();
    const count = await waiting();
    rows.push({
      name: `memory of a queued job, of ${count}`,
      kB: round((residentBytes(server.child) - firstBytes) / (count - firstCount) / 1000),
    });
    rows.push({
      ...(await requestsPerSecond(() => call(server, "GET", "/v1/jobs?limit=50"))),
      name: `GET /v1/jobs, 50 of ${count}`,
    });
    await stop(server);
    rmSync(data, { recursive: true });

    server = await startOn(data);
    rows.push(
      await resumption(data, server, (next) => {
        server = next;
      }),
    );
  } finally {
    await stop(server, "SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
  return rows;
}

/**
 * The server's overhead per job: its best time over HTTP, from submission to result, minus the best time of the engine
 * alone.
 */
async function overhead(server: Server): Promise<Row> {
  const engine = new Engine();
  try {
    const request = { ...small, depthImage: depthMap };
    const { alone, served } = (await inTurn(15, {
      alone: timed(() => engine.generate({ load, request })),
      served: timed(() => call(server, "POST", "/v1/jobs?wait=60", bodyOf())),
    })) as { alone: number; served: number };
    return {
      name: "a job of 128×128, 4 steps",
      "engine ms": round(alone * 1000),
      "server ms": round(served * 1000),
      "overhead ms": round((served - alone) * 1000),
    };
  } finally {
    await engine.close();
  }
}

/** Kills the server in the middle of a job. Times start with the kill, and include the start of the next process. */
async function resumption(data: string, server: Server, replace: (next: Server) => void): Promise<Row> {
  const large = { ...small, width: 512, height: 512, steps: 40 };
  const { id } = await call<Job>(server, "POST", "/v1/jobs", bodyOf(large));
  while ((await call<Job>(server, "GET", `/v1/jobs/${id}`)).step < 12)
    await new Promise((resolve) => setTimeout(resolve, 20));
  await stop(server, "SIGKILL");
  const killed = performance.now();
  const next = await startOn(data);
  replace(next);
  const listening = performance.now();
  const response = await fetch(`${next.printed}/v1/jobs/${id}/events`);
  let text = "";
  for await (const chunk of response.body!) {
    text += Buffer.from(chunk).toString();
    const [, fromStep] = /^event: resumed\ndata: .*"from_step":(\d+)/m.exec(text) ?? [];
    if (fromStep !== undefined && /^event: resumed[\s\S]*^event: step/m.test(text)) {
      const stepped = performance.now();
      return {
        name: `kill -9 at step 12 or later of ${large.steps}, 512×512; continued after step ${fromStep}`,
        "listening ms": Math.round(listening - killed),
        "first step ms": Math.round(stepped - killed),
      };
    }
  }
  throw new Error(`the job did not resume:\n${text}`);
}
