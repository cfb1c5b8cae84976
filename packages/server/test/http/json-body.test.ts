import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseJson } from "../../src/http/json-body.js";

const parse = (text: string): unknown => parseJson(Buffer.from(text));

/** Processor time, so that what else runs on the machine does not count. */
const millisecondsSince = (began: NodeJS.CpuUsage): number => process.cpuUsage(began).user / 1000;

describe("parseJson", () => {
  for (const text of [
    '{"a":[1,{"b":"c"}]}',
    '"a\\"]]]]["',
    '"\\\\"',
    '["\\\\\\"", "["]',
    "null",
    " 1 ",
    '{"ä":"€𝄞"}',
  ])
    test(`reads ${text}`, () => assert.deepEqual(parse(text), JSON.parse(text)));

  test("does not count brackets and commas in texts", () => {
    const text = `"${"[,".repeat(50_000)}"`;
    assert.equal(parse(text), JSON.parse(text));
  });

  for (const [what, text, code] of [
    ["33 levels", "[".repeat(33) + "]".repeat(33), "too_deep"],
    ["more than 10,000 values", `[${"0,".repeat(10_000)}0]`, "too_many_values"],
    ["a prototype", '{"a":{"__proto__":1}}', "unknown_field"],
    ["an unfinished text", '{"a":"b', "malformed_json"],
    ["nothing", "", "malformed_json"],
  ] as const)
    test(`refuses ${what}`, () => assert.throws(() => parse(text), { code, status: 400 }));

  test("refuses bytes that are not UTF-8", () =>
    assert.throws(() => parseJson(Buffer.from([0x22, 0xff, 0x22])), { code: "malformed_json", status: 400 }));

  test("refuses a hundred million brackets in little time", () => {
    const body = Buffer.alloc(1e8, "[");
    const began = process.cpuUsage();
    assert.throws(() => parseJson(body), { code: "too_deep" });
    assert.ok(millisecondsSince(began) < 100);
  });

  test("measures long texts in little time", () => {
    const began = process.cpuUsage();
    parseJson(Buffer.from(`"${"x".repeat(5e7)}"`));
    assert.ok(millisecondsSince(began) < 1000);
  });
});
