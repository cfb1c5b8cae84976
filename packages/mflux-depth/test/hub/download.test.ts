import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { DownloadProgress } from "../../src/hub/transfer.js";
import {
  asBuffers,
  assertComplete,
  full,
  HubFixture,
  json,
  modelError,
  needed,
  repository,
  transformer,
  weights,
} from "../support/hub-fixture.js";
import { goodToken, newCommit } from "../support/hub-server.js";

const fixture = new HubFixture();
beforeEach(() => fixture.hub.host(repository, full));

describe("a download", () => {
  test("fetches the needed files and no others", async () => {
    assertComplete(await fixture.obtain());
    assert.deepEqual(fixture.hub.resolved().sort(), Object.keys(needed).sort());
  });

  test("first fetches a file that shows whether access is granted, and weights last", async () => {
    await fixture.obtain();
    const resolved = fixture.hub.resolved();
    assert.equal(resolved[0], "transformer/config.json");
    const firstWeights = resolved.findIndex((file) => file.endsWith(".safetensors"));
    assert.ok(resolved.slice(firstWeights).every((file) => file.endsWith(".safetensors")));
  });

  test("sends the token only to the Hub", async () => {
    await fixture.obtain({}, { env: { ...fixture.environment, HF_TOKEN: goodToken } });
    assert.ok(
      fixture.hub.asked.every(
        ({ cdn, headers }) => headers.authorization === (cdn ? undefined : `Bearer ${goodToken}`),
      ),
    );
  });

  test("reports the bytes and files of the whole model", async () => {
    const events: DownloadProgress[] = [];
    await fixture.obtain({}, { onProgress: (event) => events.push(event) });
    const total = Object.values(asBuffers(needed)).reduce((sum, { length }) => sum + length, 0);
    const count = Object.keys(needed).length;
    assert.deepEqual(events.at(-1), {
      component: repository,
      state: "download",
      bytes: total,
      bytesDone: total,
      files: count,
      filesDone: count,
      current: [],
    });
    assert.ok(events.every(({ bytesDone }, i) => i === 0 || bytesDone >= events[i - 1]!.bytesDone));
  });

  test("refuses a name that cannot be a revision", async () => {
    await assert.rejects(
      fixture.obtain({ revision: "../../x" }),
      modelError(/cannot be a branch, tag or commit/),
    );
  });

  test("ends all files when one fails, in whatever state they are", async () => {
    for (let delay = 0; delay < 12; delay++) {
      await fixture.clearHome();
      const refused = new Promise<void>((resolve) => {
        fixture.hub.fault = ({ path }, response) => {
          if (!path.endsWith(transformer)) return undefined;
          setTimeout(() => {
            response.writeHead(404).end();
            resolve();
          }, delay);
          return true;
        };
      });
      const ended = assert.rejects(fixture.obtain(), modelError(/no such repository/));
      await refused;
      const late = sleep(60_000, undefined, { ref: false }).then(() => assert.fail("it did not end"));
      await Promise.race([ended, late]);
    }
  });
});

describe("a variant", () => {
  const shard = "transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors";
  const varied = {
    [shard]: weights(5_000, 43),
    "transformer/diffusion_pytorch_model.safetensors.index.fp16.json": json({
      weight_map: { x: shard.split("/")[1] },
    }),
    "vae/diffusion_pytorch_model.fp16.safetensors": weights(5_000, 47),
  };
  beforeEach(() => fixture.hub.host(repository, { ...full, ...varied }));

  test("replaces the plain weights if available, with shards by their index", async () => {
    const expected: Record<string, Uint8Array | string> = { ...needed, ...varied };
    expected["text_encoder/model.fp16.safetensors"] = full["text_encoder/model.fp16.safetensors"]!;
    for (const plain of [
      "text_encoder/model",
      "vae/diffusion_pytorch_model",
      "transformer/diffusion_pytorch_model",
    ])
      delete expected[`${plain}.safetensors`];
    assertComplete(await fixture.obtain({ variant: "fp16" }), expected);
  });

  test("is refused if no component has it", () =>
    assert.rejects(
      fixture.obtain({ variant: "bf16" }),
      modelError(/needs \*\.bf16\.safetensors, which the repository lacks$/),
    ));
});

describe("patterns", () => {
  const assertNoWeights = (): void =>
    assert.ok(!fixture.hub.resolved().some((file) => file.endsWith(".safetensors")));

  test("that exclude needed files are refused, naming the files", async () => {
    await assert.rejects(
      fixture.obtain({ patterns: { allow: ["*.json", "*.safetensors"], ignore: ["vae/*.safe*"] } }),
      modelError(
        /needs vae\/\*\.safetensors, tokenizer\/merges\.txt, which the repository lacks or the patterns exclude/,
      ),
    );
    assertNoWeights();
  });

  test("that exclude needed folders are refused, naming the folders", async () => {
    await assert.rejects(
      fixture.obtain({ patterns: { ignore: ["vae/*", "tokenizer/"] } }),
      modelError(/the patterns exclude all of tokenizer, vae; the model needs these folders/),
    );
    assertNoWeights();
  });
});

describe("a repository that changes during the download", () => {
  test("gives a single commit if its branch moves", async () => {
    const hosted = fixture.hub.repositories[repository]!;
    const { main } = hosted.refs;
    const moved = newCommit();
    hosted.commits[moved] = { ...full, "vae/config.json": "{}", [transformer]: "x" };
    fixture.hub.fault = ({ path }) => {
      if (path.includes("/resolve/")) hosted.refs.main = moved;
      return undefined;
    };
    const found = await fixture.obtain();
    assert.equal(found.revision, main);
    assertComplete(found);
  });

  /** Replaces the transformer within its commit each time that it is requested. */
  const replaceTransformer = (next: () => Buffer): void => {
    const hosted = fixture.hub.repositories[repository]!;
    const { main } = hosted.refs as { main: string };
    fixture.hub.fault = ({ path }) => {
      if (path.endsWith(transformer)) hosted.commits[main] = { ...full, [transformer]: next() };
      return undefined;
    };
  };

  test("is listed again if a file is replaced", async () => {
    const other = weights(200_000, 53);
    replaceTransformer(() => other);
    assertComplete(await fixture.obtain(), { ...needed, [transformer]: other });
  });

  test("is refused if a file is replaced again", async () => {
    let seed = 60;
    replaceTransformer(() => weights(1000, seed++));
    await assert.rejects(fixture.obtain(), modelError(/is changing on the Hub during the download/));
  });
});
