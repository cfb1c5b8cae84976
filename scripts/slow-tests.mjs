/**
 * The test files that `npm run test:fast` leaves out, each with the reason: those that need more than about 7 seconds of
 * CPU time. `npm test -- --times` prints the time of every file.
 */
export const slowTests = {
  "packages/mlx/test/cpu/instruction-sets.test.ts":
    "repeats the tests of CPU kernels with every instruction set",
  "packages/mlx/test/exit.test.ts": "starts many processes and ends them in the middle of a computation",
  "packages/mlx/test/package.test.ts": "packs and installs the package",
  "packages/mflux-depth/test/cli/cli.test.ts": "runs the command line, a process for each test",
  "packages/mflux-depth/test/hub/obtain.test.ts": "waits for locks, timeouts and retries of downloads",
  "packages/mflux-depth/test/memory/plan.test.ts": "measures the peak memory of every stage",
  "packages/mflux-depth/test/models/autoencoder-memory.test.ts": "measures the memory of large images",
  "packages/mflux-depth/test/pipeline/flux-depth.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/save.test.ts":
    "saves models at every bit width, in processes that are killed",
  "packages/nodetool/test/models.test.ts": "starts workers and loads models in them",
  "packages/nodetool/test/responsive.test.ts": "generates while it measures how soon the worker answers",
  "packages/nodetool/test/websocket.test.ts": "starts workers and generates over WebSocket",
};
