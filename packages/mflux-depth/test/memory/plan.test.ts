import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MemoryError } from "../../src/errors.js";
import { programBytes } from "../../src/memory/machine.js";
import { type MemoryPlan, type PlannedStage, peakOf, planStages, requireFit } from "../../src/memory/plan.js";

type Component = "encoder" | "transformer" | "vae";

const sizes = {
  encoder: { bytes: 50, reading: 5 },
  transformer: { bytes: 100, reading: 20 },
  vae: { bytes: 10, reading: 2 },
};

const stage = (
  name: string,
  uses: Component[][],
  workingMemory: (room: number) => number,
): PlannedStage<string, Component> => ({
  name,
  uses: uses.map((components) => ({ components })),
  workingMemory,
});

const plan = (
  stages: readonly PlannedStage<string, Component>[],
  policy: "resident" | "low" = "low",
  available = programBytes + 1000,
  kept = 0,
) => planStages(stages, { sizeOf: (name) => sizes[name], policy, available, kept });

describe("planStages", () => {
  const denoise = stage("denoise", [["transformer"]], () => 70);
  const decode = stage("decode", [["vae"]], () => 30);

  test("adds up the program, the weights and the working memory of each stage", () => {
    assert.deepEqual(plan([denoise, decode]), [
      { stage: "denoise", weights: 100, work: 70, peak: programBytes + 170 },
      { stage: "decode", weights: 10, work: 30, peak: programBytes + 40 },
    ]);
  });

  test("counts the weights that resident keeps", () => {
    assert.deepEqual(
      plan([denoise, decode], "resident").map(({ weights }) => weights),
      [100, 110],
    );
  });

  test("counts the reading of weights where it takes more than the stage's work", () => {
    const [{ work } = { work: 0 }] = plan([stage("text", [["encoder"]], () => 1)]);
    assert.equal(work, 5);
  });

  test("tells a stage the room that its weights leave", () => {
    let told = 0;
    plan([
      stage("denoise", [["transformer", "vae"]], (room) => {
        told = room;
        return 0;
      }),
    ]);
    assert.equal(told, 1000 - 110);
  });

  test("never gives a stage negative room", () => {
    let told = -1;
    const measuring = stage("decode", [["vae"]], (room) => {
      told = room;
      return 0;
    });
    plan([measuring], "low", 5);
    assert.equal(told, 0);
  });

  test("takes the highest peak of a stage with several uses", () => {
    const text = stage("text", [["vae"], ["encoder"]], () => 30);
    assert.deepEqual(plan([text]), [{ stage: "text", weights: 50, work: 30, peak: programBytes + 80 }]);
  });

  test("adds what the last generation left to the work of every stage, and takes it from the room", () => {
    const decoding = stage("decode", [["vae"]], (room) => room / 10);
    assert.deepEqual(
      plan([denoise, decoding], "resident", programBytes + 1000, 40).map(({ work }) => work),
      [110, 40 + (1000 - 110 - 40) / 10],
    );
  });

  describe("with a stage that makes room for itself", () => {
    const judge = { ...stage("judge", [["encoder"]], () => 60), makesRoom: true };
    const weightsWith = (available: number) => plan([denoise, judge], "resident", available)[1]!.weights;

    test("keeps the others' weights if memory allows", () => {
      assert.equal(weightsWith(programBytes + 210), 150);
    });

    test("holds only its own if memory is short", () => {
      assert.equal(weightsWith(programBytes + 209), 50);
    });
  });

  test("has the highest peak of all stages", () => {
    assert.equal(peakOf(plan([decode, denoise])), programBytes + 170);
  });
});

describe("requireFit", () => {
  const machine = { total: 2e9, available: 1e9, source: "GPU" } as const;
  const alternatives = [{ quantize: 4, peak: 0.8e9 }];
  const tooLarge: MemoryPlan = {
    stages: [
      { stage: "denoise", weights: 1e9, work: 0.5e9, peak: 1.5e9 },
      { stage: "decode", weights: 0.1e9, work: 0.5e9, peak: 0.6e9 },
    ],
    peak: 1.5e9,
    machine,
    fits: false,
    alternatives,
  };

  test("accepts a plan that fits", () => {
    requireFit({ ...tooLarge, fits: true });
  });

  test("refuses one that does not, with the figures", () => {
    assert.throws(
      () => requireFit(tooLarge),
      (error: unknown) => {
        assert.ok(error instanceof MemoryError);
        assert.equal(
          error.message,
          "This needs about 1.5 GB of memory in the stage denoise, but only 1.0 GB is available (GPU).",
        );
        assert.deepEqual([error.needed, error.available, error.exitCode], [1.5e9, 1e9, 1]);
        return true;
      },
    );
  });

  test("offers the alternatives, and to try anyway", () => {
    assert.throws(
      () => requireFit(tooLarge),
      (error: unknown) => {
        assert.ok(error instanceof MemoryError);
        assert.deepEqual(error.alternatives, alternatives);
        assert.deepEqual(error.details.remedies, [
          { kind: "set-option", option: "force", value: true, purpose: "try anyway" },
        ]);
        return true;
      },
    );
  });
});
