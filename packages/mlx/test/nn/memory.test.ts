import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { onCpu } from "../support/numbers.js";
import { program, source } from "../support/process.js";

describe("memory on the CPU", () => {
  /** How much the process grows at most, in MiB, while `code` computes what it returns. */
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

  it("attention holds the scores of one part", onLinuxCpu, () => {
    const grown = growth(
      "const q = mx.random.normal([1, 24, 2048, 8]); mx.evaluateSync(q);",
      "nn.attention(q, q, q, { scale: 1 })",
    );
    assert.ok(grown < 120, `${grown} MiB, where all scores have 384`);
  });

  it("Conv2d holds the patches of one band", onLinuxCpu, () => {
    const grown = growth(
      `const x = mx.random.normal([1, 1024, 128, 64]); mx.evaluateSync(x);
       const conv = new nn.Conv2d(64, 4, { kernelSize: 3, padding: 1 });`,
      "conv.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB, where all patches have 288`);
  });

  it("quantized Linear holds one dense panel", onLinuxCpu, () => {
    const grown = growth(
      `const linear = new nn.Linear(1024, 98304, { bias: false });
       await linear.load([["weight", mx.full([98304, 1024], 0.5)]], { quantization: { bits: 4 } });
       const x = mx.random.normal([32, 1024]); mx.evaluateSync(x);`,
      "linear.forward(x)",
    );
    assert.ok(grown < 120, `${grown} MiB, where the dense matrix has 384`);
  });
});
