import { execFileSync } from "node:child_process";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { JobBody, JobEvent, JsonOptions } from "../../src/contract/index.js";
import { JobService } from "../../src/jobs/service.js";
import type { ServiceOptions } from "../../src/jobs/settings.js";
import { temporaryFolder } from "./folder.js";
import { depthMap } from "./pictures.js";
import type { Owner } from "./scope.js";

/** A service with the bundled model, which is closed after the test. */
export async function openService(
  t: Owner,
  { folder = temporaryFolder(t), ...options }: Partial<ServiceOptions> = {},
): Promise<JobService> {
  const service = await JobService.open({ folder, load: { model: "tiny-world" }, ...options });
  t.after(() => service.close());
  return service;
}

/** The environment of a machine without downloaded models. */
export const emptyCache = (t: TestContext): NodeJS.ProcessEnv => ({
  ...process.env,
  HF_HUB_CACHE: temporaryFolder(t),
});

/** A generation that takes a second at most, unless options make it larger. */
export async function generation(service: JobService, options: JsonOptions = {}): Promise<JobBody> {
  const { blob } = await service.blobs.put(depthMap);
  return {
    kind: "generate",
    request: {
      prompt: "a cube",
      depth_image: { blob: blob.id },
      steps: 2,
      // Attending to padding takes a third of a small image's time.
      max_sequence_length: 16,
      width: 32,
      height: 32,
      seed: 7,
      ...options,
    },
  };
}

/** Submits a generation. @returns its id. */
export async function submitted(service: JobService, options: JsonOptions = {}): Promise<string> {
  return (await service.submit(await generation(service, options))).job.id;
}

/** Resolves with the first event of a job, past or to come, that a test waits for. */
export function eventOf(
  service: JobService,
  id: string,
  isWanted: (event: JobEvent) => boolean,
): Promise<JobEvent> {
  return new Promise((resolve, reject) => {
    const look = (event: JobEvent): boolean => {
      if (isWanted(event)) resolve(event);
      else if (["succeeded", "failed", "cancelled"].includes(event.event))
        reject(new Error(`The job ended (${event.event}) without the event.`));
      else return false;
      unsubscribe();
      return true;
    };
    const unsubscribe = service.subscribe(id, look);
    service.events(id, 0).past.some(look);
  });
}

/** The names of a job's durable events. */
export const story = (service: JobService, id: string): readonly string[] =>
  service.events(id, 0).past.map(({ event }) => event);

/** Kills the engine of a service in this process, once it exists. */
export async function killEngine(): Promise<void> {
  for (;;) {
    const pid = engineOf(process.pid);
    if (pid !== null) {
      process.kill(pid, "SIGKILL");
      return;
    }
    await sleep(10);
  }
}

/** The process id of the engine that a process owns. */
export function engineOf(owner: number): number | null {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" }).split("\n");
  const engines = lines
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match && Number(match[2]) === owner && /engine\/host\.js/.test(match[3]!));
  return engines[0] ? Number(engines[0][1]) : null;
}
