import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { onCpu } from "../support/numbers.js";
import { program, source } from "../support/process.js";

describe("peak memory on the CPU", () => {
  /** Peak growth of the process, in MiB, while it evaluates the result of `code`. */
  const growth = (prepare: string, code: string): number =>
    Number(
      program(`
        import { readFileSync, writeFileSync } from "node:fs";
        import * as nn from ${JSON.stringify(source("nn/index"))};
        const most = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
        ${prepare}
        mx.memory.clearCache();
        writeFileSync("/proc/self/clear_refs", "5");
        const before = most();
        mx.evaluateSync(mx.scope(() => ${code}));
        console.log(most() - before);`),
    );
  const onLinuxCpu = { skip: onCpu.skip || process.platform !== "linux" };

  it("of attention holds the scores of one block", onLinuxCpu, () => {
    const grown = growth(
      "const q = mx.random.normal([1, 24, 2048, 8]); mx.evaluateSync(q);",
      "nn.attention(q, q, q, { scale: 1 })",
    );
    assert.ok(grown < 120, `${grown} MiB; all scores take 384`);
  });

  it("of Conv2d holds the patches of one band", onLinuxCpu, () => {
    const grown = growth(
      `const x = mx.random.normal([1, 1024, 128, 64]); mx.evaluateSync(x);
       const conv = new nn.Conv2d(64, 4, { kernelSize: 3, padding: 1 });`,
      "conv.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB; all patches take 288`);
  });

  it("of quantized Linear holds one dense panel", onLinuxCpu, () => {
    const grown = growth(
      `const linear = new nn.Linear(1024, 98304, { bias: false });
       await linear.load([["weight", mx.full([98304, 1024], 0.5)]], { quantization: { bits: 4 } });
       const x = mx.random.normal([32, 1024]); mx.evaluateSync(x);`,
      "linear.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB; the dense matrix takes 384`);
  });
});
