import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";
import type { JobPage } from "../../src/contract/index.js";
import { depthMap } from "../support/pictures.js";
import { TestServer } from "../support/server.js";
import { longJob, slowSteps } from "../support/slow-steps.js";

const jobsOf = async (server: TestServer): Promise<JobPage["data"]> =>
  ((await (await server.fetch("/v1/jobs")).json()) as JobPage).data;

test("a client whose server was killed gets the image of its first attempt", async () => {
  const first = await TestServer.start({ env: slowSteps });
  const client = new OpenAI({ apiKey: "none", baseURL: `${first.url}/v1`, maxRetries: 100 });
  const request = { prompt: "a red cube", size: "32x32" as never };
  const ours = { depth_image: depthMap.toString("base64"), ...longJob.request } as object;
  const answer = client.images.generate({ ...request, ...ours });
  while (!(await jobsOf(first)).some(({ step }) => step >= 2)) await sleep(20);
  await first.stop("SIGKILL");
  const second = await TestServer.start({ data: first.data, port: first.port });
  const { data } = await answer;
  assert.equal(data?.length, 1);
  const jobs = await jobsOf(second);
  assert.deepEqual(
    jobs.map(({ state, attempt }) => [state, attempt]),
    [["succeeded", 2]],
  );
});
