import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { array, memory } from "@mflux-depth/mlx";
import { machineMemory, programBytes, workingRoom } from "../../src/memory/machine.js";
import { onMachineWith } from "../support/tiny-world.js";

describe("the memory of a machine", () => {
  test("reports at most the total as available", () => {
    const { total, available } = machineMemory("cpu", {});
    assert.ok(available > 0 && available <= total);
  });

  test("follows MFLUX_DEPTH_MEMORY_GB", () => {
    assert.deepEqual(machineMemory("cpu", { MFLUX_DEPTH_MEMORY_GB: "1.5" }), {
      total: 1.5e9,
      available: 1.5e9,
      source: "MFLUX_DEPTH_MEMORY_GB",
    });
  });

  test("is measured if MFLUX_DEPTH_MEMORY_GB is empty", () => {
    assert.notEqual(machineMemory("cpu", { MFLUX_DEPTH_MEMORY_GB: "" }).source, "MFLUX_DEPTH_MEMORY_GB");
  });

  for (const value of ["0", "-1", "0,5", "8GB", "1e400"])
    test(`cannot be MFLUX_DEPTH_MEMORY_GB=${value}`, () => {
      assert.throws(() => machineMemory("cpu", { MFLUX_DEPTH_MEMORY_GB: value }), {
        name: "EngineError",
        message: `MFLUX_DEPTH_MEMORY_GB must be a number of gigabytes above 0, such as 0.5, not "${value}".`,
      });
    });

  test("leaves room for a computation after the program and what is held", () =>
    onMachineWith(1, async () => {
      using held = array(new Float32Array(1e6));
      assert.ok(held.nbytes >= 4e6);
      assert.equal(workingRoom(), 1e9 - programBytes - memory.activeMemory());
    }));
});
