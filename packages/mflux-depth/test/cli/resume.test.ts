import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { bin, map, pixels } from "../support/command-line.js";
import { HubFixture, readFolder, repository, transformer, weights } from "../support/hub-fixture.js";
import { etagOf } from "../support/hub-server.js";
import { at } from "../support/tensors.js";
import { untilWritten } from "../support/waiting.js";

const fixture = new HubFixture();
const tinyWorld = readFolder(at("models/tiny-world"));
const photo = at("../../examples/images/portrait.png");
const generate = [
  ...["generate", "-m", repository, "-q", "none", "--prompt", "a cube"],
  ...["--width", "64", "--height", "64", "--steps", "1"],
];

async function run(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  watch: (stderr: string, kill: () => void) => void = () => {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [bin, ...argv], {
    cwd: fixture.home,
    env: { ...process.env, ...fixture.environment, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
    watch(stderr, () => child.kill("SIGKILL"));
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

test("a killed download is resumed, and its model then works without a network", async () => {
  const { hub } = fixture;
  hub.host(repository, { ...tinyWorld, "flux1-depth-dev.safetensors": weights(9_000, 3) });
  const bytes = tinyWorld[transformer]!;
  const etag = etagOf(transformer, bytes);

  // The server stops in the middle of the transformer, and the process is killed at that point.
  hub.fault = ({ cdn, path }, response) => {
    if (!cdn || !path.endsWith(etag)) return undefined;
    response.writeHead(200, { "content-length": `${bytes.length}` }).write(bytes.subarray(0, 8_000_000));
    return true;
  };
  let killing = false;
  const killed = await run([...generate, "--depth-image-path", map], {}, (stderr, kill) => {
    if (killing || !/downloading someone\/tiny, \d+\.\d MB of 20\.\d MB/.test(stderr)) return;
    killing = true;
    void untilWritten(fixture.partialBlob(etag), 8_000_000).then(kill);
  });
  assert.equal(killed.code, null);

  // Offline, the incomplete model is refused.
  const offline = { HF_HUB_OFFLINE: "1" };
  const refused = await run([...generate, "--depth-image-path", map], offline);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /^someone\/tiny: revision .* is incomplete in the Hugging Face cache .* transformer\/\*\.safetensors.* missing/,
  );

  // The next generation downloads the rest.
  hub.forget();
  const made = await run([...generate, "--image-path", photo, "--seed", "3"], {});
  assert.deepEqual([made.code, made.stdout], [0, "image.png\n"], made.stderr);
  const range = hub.asked.find(({ cdn, path }) => cdn && path.endsWith(etag))?.headers.range;
  assert.ok(Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]) > 0);
  assert.ok(!hub.resolved().includes("flux1-depth-dev.safetensors"));

  // The complete model works offline.
  hub.forget();
  const depth = await run(["depth", photo, "--depth-model", repository, "--offline"], {});
  assert.deepEqual([depth.code, depth.stdout], [0, "portrait_depth.png\n"], depth.stderr);
  const again = await run([...generate, "--image-path", photo, "--seed", "3"], offline);
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(
    await pixels(join(fixture.home, "image_1.png")),
    await pixels(join(fixture.home, "image.png")),
  );
  assert.deepEqual(hub.asked, []);
});
