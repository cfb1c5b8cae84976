/*
 * `npm run soak -- [JOBS]`: a thousand jobs from a hundred clients against one server.
 */
import { test } from "node:test";
import { sendCrowd } from "./support/crowd.js";
import { TestServer } from "./support/server.js";

const jobs = Number(process.argv[2] ?? 1000);

test(`${jobs} jobs`, async () => {
  const server = await TestServer.start({ argv: ["--max-queue", `${jobs + 1}`] });
  const began = performance.now();
  const { early, late } = await sendCrowd(server, {
    jobs,
    clients: 100,
    onProgress: (ended) => {
      if (ended % 100 === 0)
        console.error(`${ended} of ${jobs} after ${Math.round((performance.now() - began) / 1000)} s`);
    },
  });
  const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
  console.error(`memory after a third: ${megabytes(early)}, at the end: ${megabytes(late)}`);
  await server.stop();
});
