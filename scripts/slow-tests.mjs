/**
 * The test files that `npm run test:fast` leaves out, each with the reason: the most expensive ones, so that the rest
 * of all packages takes less than a minute on two cores. `npm test -- --times` prints the time of every file.
 */
export const slowTests = {
  "packages/mlx/test/cpu/instruction-sets.test.ts":
    "repeats the tests of the CPU kernels with every instruction set",
  "packages/mlx/test/exit.test.ts": "starts a hundred processes that end in the middle of a computation",
  "packages/mlx/test/package.test.ts": "packs and installs the package",
  "packages/mflux-depth/test/cli/generate.test.ts": "runs the command line, a process for each test",
  "packages/mflux-depth/test/cli/download.test.ts": "runs the command line, a process for each test",
  "packages/mflux-depth/test/cli/main.test.ts": "runs the command line, a process for each test",
  "packages/mflux-depth/test/cli/save.test.ts": "runs the command line, a process for each test",
  "packages/mflux-depth/test/cli/resume.test.ts": "runs the command line, a process for each command",
  "packages/mflux-depth/test/cli/signals.test.ts": "waits for processes that do not answer signals",
  "packages/mflux-depth/test/engine/engine.test.ts": "starts engine processes and generates in them",
  "packages/mflux-depth/test/engine/engine-process.test.ts": "starts engine processes and kills them",
  "packages/mflux-depth/test/engine/idle-watch.test.ts": "starts engine processes and generates in them",
  "packages/mflux-depth/test/engine/deletions.test.ts": "starts engine processes and generates in them",
  "packages/mflux-depth/test/engine/listeners.test.ts": "starts engine processes and generates in them",
  "packages/mflux-depth/test/engine/depth-jobs.test.ts": "starts engine processes and generates in them",
  "packages/mflux-depth/test/engine/resume.test.ts": "starts engine processes, kills them and resumes jobs",
  "packages/mflux-depth/test/families/second-family.test.ts": "generates whole images",
  "packages/mflux-depth/test/fuzz.test.ts": "feeds hundreds of hostile inputs to processes",
  "packages/mflux-depth/test/hub/silence.test.ts": "waits for timeouts of downloads",
  "packages/mflux-depth/test/hub/client.test.ts": "waits for timeouts and retries of downloads",
  "packages/mflux-depth/test/images/large.test.ts":
    "reads images of a hundred megapixels, in processes that it measures",
  "packages/mflux-depth/test/models/autoencoder-memory.test.ts": "measures the memory of large images",
  "packages/mflux-depth/test/pipeline/abort.test.ts": "aborts generations in every stage",
  "packages/mflux-depth/test/pipeline/diffusers.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/fast-previews.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/finite.test.ts": "generates with and saves many damaged models",
  "packages/mflux-depth/test/pipeline/flux-depth.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/int8.test.ts": "generates whole images at every kind of product",
  "packages/mflux-depth/test/pipeline/loading.test.ts": "reads weights that take seconds",
  "packages/mflux-depth/test/pipeline/loras.test.ts": "generates whole images, and at every bit width",
  "packages/mflux-depth/test/families/flux1-depth/adapters.test.ts":
    "loads the transformer with every adapter file",
  "packages/mflux-depth/test/families/flux1-depth/control-lora.test.ts": "generates whole images",
  "packages/mflux-depth/test/families/flux1-depth/single-file.test.ts": "generates and saves whole images",
  "packages/mflux-depth/test/pipeline/plan.test.ts": "measures the peak memory of every stage",
  "packages/mflux-depth/test/pipeline/polarity.test.ts": "generates images and estimates depth",
  "packages/mflux-depth/test/pipeline/prepare.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/process-settings.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/queue.test.ts": "generates whole images",
  "packages/mflux-depth/test/pipeline/save-model.test.ts":
    "saves models at every bit width, in processes that are killed",
  "packages/mflux-depth/test/weights/component.test.ts": "reads weights that take seconds",
  "packages/mflux-depth/test/weights/writer.test.ts": "measures the memory of processes",
  "packages/nodetool/test/node.test.ts": "generates in the engine's process",
  "packages/nodetool/test/worker/cache.test.ts": "starts workers and loads models in them",
  "packages/nodetool/test/worker/cancelling.test.ts": "starts workers and cancels their runs",
  "packages/nodetool/test/worker/models.test.ts": "starts workers and loads models in them",
  "packages/nodetool/test/worker/recommended.test.ts":
    "starts a worker, downloads models with it and generates",
  "packages/nodetool/test/worker/responsive.test.ts":
    "generates while it measures how soon the worker answers",
  "packages/nodetool/test/worker/runs.test.ts": "starts workers and generates in them",
  "packages/nodetool/test/worker/secrets.test.ts": "starts a worker and stalls its downloads",
  "packages/nodetool/test/worker/stdio.test.ts": "starts workers and generates over pipes",
  "packages/nodetool/test/worker/websocket.test.ts": "starts workers and generates over WebSocket",
};
