/*
 * A process with many workers whose engines only wait. Arguments: a StubSettings in JSON. It prints a line when the API
 * knows all of them, and exits when its standard input ends.
 */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { RedisDispatcher } from "@mflux-depth/server/internal/dispatch/redis/dispatcher";
import { ApiClient } from "@mflux-depth/server/internal/fleet/api-client";
import { FleetWorker } from "@mflux-depth/server/internal/fleet/worker";
import { defaultsOf } from "@mflux-depth/server/internal/jobs/defaults";
import type { Engine, EngineEvent, EngineJob, EngineResult } from "mflux-depth/engine";

export interface StubSettings {
  readonly api: string;
  readonly redis: string;
  readonly token: string;
  /** The number of the first worker, and how many there are. */
  readonly first: number;
  readonly count: number;
  readonly steps: number;
  readonly stepMs: number;
}

const settings = JSON.parse(process.argv[2]!) as StubSettings;
const picture = readFileSync(new URL("../../examples/images/cube.png", import.meta.url));

/** An engine whose steps take time, but no processor time. */
class StubEngine {
  readonly held = { model: "tiny-world" };

  async planJob(): Promise<{ fits: boolean; peak: number }> {
    return { fits: true, peak: 0 };
  }

  async generate(
    job: EngineJob,
    { signal, onEvent }: { signal: AbortSignal; onEvent: (event: EngineEvent) => void },
  ): Promise<EngineResult> {
    const { steps, stepMs } = settings;
    onEvent({ type: "started", fingerprint: "stub" });
    for (let index = 1; index <= steps; index++) {
      await sleep(stepMs * (0.9 + 0.2 * Math.random()), undefined, { signal });
      onEvent({ type: "step", index, total: steps, seconds: stepMs / 1000 } as unknown as EngineEvent);
    }
    // Each picture must be a different file.
    const image = Buffer.concat([picture, randomBytes(16)]);
    const { seed = 0 } = job.request as { seed?: number };
    return {
      image,
      format: "png",
      width: 128,
      height: 128,
      seed,
      depthMap: null,
      fidelity: null,
    } as unknown as EngineResult;
  }

  async close(): Promise<void> {}
}

const defaults = await defaultsOf({ load: { model: "tiny-world" } });
let known = 0;
const workers = Array.from({ length: settings.count }, (_, at) => {
  const worker = new FleetWorker({
    api: new ApiClient({
      url: settings.api,
      token: settings.token,
      process: (settings.first + at).toString(16).padStart(8, "0"),
    }),
    dispatcher: new RedisDispatcher({ url: settings.redis }),
    engine: new StubEngine() as unknown as Engine,
    defaults,
    facts: { version: "0", device: "cpu", memory_bytes: 1e9 },
    modelsHere: async () => ["tiny-world"],
    onConnection: (state) => {
      if ("worker" in state && ++known === settings.count) console.log("ready");
    },
    onProblem: () => {},
  });
  worker.start();
  return worker;
});
process.stdin.resume();
process.stdin.on("end", async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  process.exit(0);
});
