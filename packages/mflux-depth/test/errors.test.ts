import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import {
  EngineError,
  ImageError,
  MemoryError,
  MfluxDepthError,
  ModelError,
  OptionError,
  OutputError,
  restoreError,
  type SerializedError,
  serializeError,
} from "../src/errors.js";

/** Sends an error as data through a message channel, as between processes. */
async function elsewhere(error: unknown): Promise<MfluxDepthError> {
  const { port1, port2 } = new MessageChannel();
  const arrived = once(port2, "message");
  port1.postMessage(serializeError(error));
  const [received] = (await arrived) as [SerializedError];
  port1.close();
  return restoreError(received);
}

const remedies = [{ kind: "set-option", option: "configFrom" }] as const;
const memoryDetails = {
  stage: "denoise",
  machine: { total: 2e9, available: 1e9, source: "memory" },
  alternatives: [{ memory: "low", quantize: 3, peak: 0.5e9 }],
};

const errors = {
  OptionError: new OptionError("steps", "steps must be less.", {
    code: "option-out-of-range",
    details: { value: 51, expected: "a whole number from 1 to 50" },
  }),
  ImageError: new ImageError("photo.jpg", "there is no such file.", { code: "image-not-found" }),
  ModelError: new ModelError("models/x", "it has no configs", { details: { remedies } }),
  OutputError: new OutputError("out.png", "is a folder"),
  MemoryError: new MemoryError(2e9, 1e9, "Too little memory.", { details: memoryDetails }),
  EngineError: new EngineError("This engine has been closed.", { code: "engine-closed" }),
} as const;

describe("an error that crosses between processes", () => {
  for (const [name, error] of Object.entries(errors))
    test(`${name} keeps its class, message, stack, code and details`, async () => {
      const there = await elsewhere(error);
      assert.equal(there.constructor, error.constructor);
      assert.ok(there instanceof MfluxDepthError && there instanceof Error);
      const facts = ({ name, message, stack, code, details, exitCode }: MfluxDepthError) => ({
        ...{ name, message, stack, code, details, exitCode },
      });
      assert.deepEqual(facts(there), facts(error));
    });

  test("keeps the public fields of its class", async () => {
    const option = await elsewhere(errors.OptionError);
    const memory = await elsewhere(errors.MemoryError);
    assert.ok(option instanceof OptionError && memory instanceof MemoryError);
    assert.equal(option.option, "steps");
    assert.deepEqual(
      [memory.needed, memory.available, memory.alternatives],
      [2e9, 1e9, memoryDetails.alternatives],
    );
  });

  test("arrives as an EngineError when its class is foreign", async () => {
    const error = new RangeError("out of range");
    const there = await elsewhere(error);
    assert.ok(there instanceof EngineError);
    assert.deepEqual(
      [there.message, there.stack, there.code, there.details],
      ["out of range", error.stack, "unexpected-error", { name: "RangeError" }],
    );
  });

  test("arrives as an EngineError when its class is a later one, with its code and details", async () => {
    class LaterError extends MfluxDepthError {
      override get name() {
        return "LaterError";
      }
    }
    const there = await elsewhere(new LaterError("later", { code: "model-unusable", details: { depth: 3 } }));
    assert.ok(there instanceof EngineError);
    assert.deepEqual([there.code, there.details], ["model-unusable", { depth: 3 }]);
  });

  test("arrives as an EngineError when a thrown value is not an error", async () => {
    const there = await elsewhere("just a text");
    assert.ok(there instanceof EngineError);
    assert.equal(there.message, "just a text");
  });
});

describe("an error", () => {
  for (const [name, error] of Object.entries(errors))
    test(`${name} is JSON without its stack`, () => {
      const { code, message, details } = error;
      assert.deepEqual(JSON.parse(JSON.stringify(error)), { name, code, message, details });
    });

  test("has its class in the first line of its stack", () => {
    assert.match(errors.OptionError.stack!, /^OptionError: steps must be less\.\n/);
  });

  test("cuts the middle out of a message that is too long to read", () => {
    const { message } = new ModelError("config.json", `"type" is "${"x".repeat(1e6)}"; expected "flux"`);
    assert.ok(message.length <= 2000);
    assert.match(message, /^config\.json: "type" is "x+ … x+"; expected "flux"$/);
  });

  test("keeps its cause", () => {
    const cause = new Error("EACCES");
    assert.equal(new OutputError("x.png", "cannot be written", { cause }).cause, cause);
  });

  test("has exit code 2 for a request that makes no sense, else 1", () => {
    assert.deepEqual(
      Object.values(errors).map(({ exitCode }) => exitCode),
      [2, 1, 1, 1, 1, 1],
    );
  });
});
