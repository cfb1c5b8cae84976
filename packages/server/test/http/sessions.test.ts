import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Sessions, sessionSeconds } from "../../src/http/sessions.js";

const secret = new Uint8Array(32).fill(7);
const sessions = new Sessions(secret, "token");

describe("a session", () => {
  const now = Date.now();
  const cookie = sessions.start(now);

  test("is known, in another process too", () => {
    assert.ok(sessions.has(cookie, now));
    assert.ok(new Sessions(secret, "token").has(cookie, now));
  });

  test("ends after 30 days", () => {
    assert.ok(sessions.has(cookie, now + (sessionSeconds - 2) * 1000));
    assert.ok(!sessions.has(cookie, now + (sessionSeconds + 1) * 1000));
  });

  test("ends when the token or the secret changes", () => {
    assert.ok(!new Sessions(secret, "other").has(cookie, now));
    assert.ok(!new Sessions(new Uint8Array(32), "token").has(cookie, now));
  });

  test("cannot be changed", () => {
    const [end, ...rest] = cookie.split(".");
    for (const other of [
      `${Number(end) + 1}.${rest.join(".")}`,
      `${cookie}x`,
      cookie.slice(0, -1),
      "",
      "..",
      "x".repeat(1e6),
    ])
      assert.ok(!sessions.has(other, now), other.slice(0, 100));
  });

  test("differs from every other", () => assert.notEqual(sessions.start(now), cookie));
});
