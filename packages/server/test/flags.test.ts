import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readSettings } from "../src/flags.js";

const redis = ["--redis", "redis://127.0.0.1:6379"];
const worker = ["--role", "worker", ...redis, "--api", "https://depth.example.org/"];

/** The flag that the refusal of some flags names, and its message. */
function refusal(...argv: readonly string[]): { option: string; message: string } {
  try {
    readSettings(argv, {});
  } catch (error) {
    const { option, message } = error as { option: string; message: string };
    return { option, message };
  }
  return assert.fail("the flags were accepted");
}

describe("the flags of the roles", () => {
  test("make one process that does everything unless others are asked for", () => {
    const { role, redis: url, api, port } = readSettings([], {});
    assert.deepEqual([role, url, api, port], ["all", undefined, undefined, 4280]);
  });

  test("take the address of Redis from the environment, where no list of processes shows its password", () => {
    const { redis: url } = readSettings([], { MFLUX_DEPTH_REDIS: "rediss://:secret@10.0.0.1:6380" });
    assert.equal(url, "rediss://:secret@10.0.0.1:6380");
  });

  test("give a worker a free port for probes and its API without a slash at the end", () => {
    const { port, api } = readSettings(worker, {});
    assert.deepEqual([port, api], [0, "https://depth.example.org"]);
  });

  test("that a role needs are asked for", () => {
    assert.equal(refusal("--role", "api").option, "--redis");
    assert.equal(refusal("--role", "api", ...redis).option, "--worker-token-file");
    assert.equal(refusal("--role", "worker", ...redis).option, "--api");
    assert.match(refusal("--role", "worker").message, /^--role worker needs --redis: /);
  });

  test("that a role cannot have are refused", () => {
    assert.equal(refusal(...worker, "--open").option, "--open");
    assert.equal(refusal(...worker, "--max-queue", "5").option, "--max-queue");
    assert.equal(refusal("--api", "https://depth.example.org").option, "--api");
    assert.equal(refusal("--worker-token-file", "tokens").option, "--worker-token-file");
  });

  test("are refused for addresses of another kind, without repeating a password", () => {
    const { option, message } = refusal("--redis", "http://:secret@127.0.0.1");
    assert.equal(option, "--redis");
    assert.doesNotMatch(message, /secret/);
    const elsewhere = ["--api", "ftp://depth.example.org"];
    assert.equal(refusal("--role", "worker", ...redis, ...elsewhere).option, "--api");
  });
});
