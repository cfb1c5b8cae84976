import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { whileDeleting } from "../../src/engine/deletions.js";
import { downloadModel, Engine, EngineError, type EngineEvent } from "../../src/engine/index.js";
import { job, when } from "../support/engine.js";
import { HubFixture, readFolder } from "../support/hub-fixture.js";
import { at } from "../support/tensors.js";

const fixture = new HubFixture();
const repository = "me/tiny";
const wanted = { ...job({ steps: 1 }), load: { model: repository } };
const tinyWorld = readFolder(at("models/tiny-world"));

let engine: Engine;
const environment = () => ({ ...process.env, ...fixture.environment, HF_HUB_OFFLINE: "0" });
beforeEach(async () => {
  fixture.hub.host(repository, tinyWorld);
  engine = new Engine({ env: environment() });
});

describe("a model that is deleted", () => {
  test("while its job runs is refused, and the job succeeds", async () => {
    const { onEvent, seen } = when(({ type }) => type === "started");
    const running = engine.generate(wanted, { onEvent });
    await seen;
    await assert.rejects(
      engine.deleteModel(repository),
      (error) =>
        error instanceof EngineError &&
        error.code === "model-in-use" &&
        /A job uses me\/tiny; cancel/.test(error.message),
    );
    assert.equal((await running).seed, 7);
    await engine.close();
  });

  test("while it is held is released first", async () => {
    await engine.generate(wanted);
    assert.equal(engine.held?.model, repository);
    assert.equal(await engine.deleteModel(repository), true);
    assert.equal(engine.pid, undefined);
    assert.equal(await engine.deleteModel(repository), false);
    await engine.close();
  });

  test("just before a job for it is downloaded again by that job", async () => {
    await engine.generate(wanted);
    const deleted = engine.deleteModel(repository);
    const events: EngineEvent[] = [];
    const again = engine.generate(wanted, { onEvent: (event) => events.push(event) });
    assert.equal(await deleted, true);
    assert.equal((await again).seed, 7);
    assert.ok(events.some((event) => event.type === "load" && event.state === "download"));
    await engine.close();
  });

  test("keeps a download of it waiting", async () => {
    let end = (): void => {};
    const deletion = whileDeleting(repository, () => new Promise<void>((resolve) => (end = resolve)));
    const request = { source: { model: repository }, purpose: "generation" } as const;
    const downloaded = downloadModel(request, { env: environment() });
    // Without waiting, it asks within half a second.
    await sleep(1500);
    assert.equal(fixture.hub.asked.length, 0);
    end();
    await deletion;
    assert.ok("model_index.json" in readFolder(await downloaded));
    await engine.close();
  });
});
