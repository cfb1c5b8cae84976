import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { downloadModel, Engine, type EngineEvent } from "../../src/engine/index.js";
import { job } from "../support/engine.js";
import { full, HubFixture, repository } from "../support/hub-fixture.js";

/** Two ways in which a listener fails. */
const failing = [
  [
    "throws",
    (error: Error) => () => {
      throw error;
    },
  ],
  ["rejects", (error: Error) => () => Promise.reject(error)],
] as const;

describe("a job whose onEvent", () => {
  const engine = new Engine();
  after(() => engine.close());

  for (const [how, failWith] of failing)
    for (const type of ["started", "load", "step"] as const)
      test(`${how} at a ${type} event fails alone`, async () => {
        await engine.evict();
        const error = new Error("from the listener");
        const fail = failWith(error);
        const onEvent = (event: EngineEvent): unknown => (event.type === type ? fail() : undefined);
        const failed = assert.rejects(engine.generate(job({ steps: 50 }), { onEvent }), error);
        const next = engine.generate(job({ steps: 1 }));
        await failed;
        assert.equal((await next).seed, 7);
      });
});

describe("a download whose onProgress", () => {
  const fixture = new HubFixture();
  beforeEach(() => fixture.hub.host(repository, full));
  const environment = () => ({ ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" });
  const request = { source: { model: repository }, purpose: "generation" } as const;

  for (const [how, failWith] of failing) {
    test(`${how} fails, and a later one continues it`, async () => {
      const error = new Error("from the listener");
      await assert.rejects(
        downloadModel(request, { env: environment(), onProgress: failWith(error) }),
        error,
      );
      assert.match(await downloadModel(request, { env: environment() }), /snapshots/);
    });

    test(`${how} ahead of a generation fails only that job`, async () => {
      const engine = new Engine({ env: environment() });
      const error = new Error("from the listener");
      const wanted = { ...job(), load: { model: repository } };
      const failed = assert.rejects(engine.generate(wanted, { onEvent: failWith(error) }), error);
      // The weights of this repository are only bytes.
      await assert.rejects(engine.generate(wanted), /not a safetensors file/);
      await failed;
      await engine.close();
    });
  }
});
