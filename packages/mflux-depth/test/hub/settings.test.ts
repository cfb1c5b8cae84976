import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { ModelError } from "../../src/errors.js";
import { hubCache, hubSettings, withoutTokens } from "../../src/hub/settings.js";
import { folderPerTest } from "../support/folders.js";
import { refused } from "../support/refusals.js";

const folder = folderPerTest("settings");

describe("the token", () => {
  const token = (env: NodeJS.ProcessEnv): string | undefined =>
    hubSettings({ HF_HOME: folder(), ...env }).token?.value;

  test("is absent without variables and files", () => assert.equal(token({}), undefined));

  test("comes from the file that hf writes", () => {
    writeFileSync(join(folder(), "token"), "from-home\n");
    assert.equal(token({}), "from-home");
  });

  test("comes from HF_TOKEN_PATH rather than from that file", () => {
    writeFileSync(join(folder(), "token"), "from-home\n");
    const HF_TOKEN_PATH = join(folder(), "other");
    writeFileSync(HF_TOKEN_PATH, "from-path");
    assert.equal(token({ HF_TOKEN_PATH }), "from-path");
  });

  test("comes from HF_TOKEN rather than from files", () => {
    const HF_TOKEN_PATH = join(folder(), "other");
    writeFileSync(HF_TOKEN_PATH, "from-path");
    assert.equal(token({ HF_TOKEN: " from-env\n", HF_TOKEN_PATH }), "from-env");
  });

  test("loses its line breaks", () => assert.equal(token({ HF_TOKEN: "hf_\r\nsecret\n" }), "hf_secret"));

  for (const HF_TOKEN of ["hf_secret key", "hf_secret\u0007", "hf_secretü"])
    test(`is refused, and not shown, as ${JSON.stringify(HF_TOKEN)}`, () =>
      assert.throws(
        () => token({ HF_TOKEN }),
        ({ source, message }: ModelError) =>
          source === "HF_TOKEN" &&
          /contains a space or another character/.test(message) &&
          !/secret/.test(message),
      ));

  test("is refused, and not shown, from a file", () => {
    const file = join(folder(), "token");
    writeFileSync(file, "hf_secret key");
    assert.throws(
      () => token({}),
      ({ source, message }: ModelError) => source === file && !/secret/.test(message),
    );
  });

  test("is absent with HF_HUB_DISABLE_IMPLICIT_TOKEN", () => {
    writeFileSync(join(folder(), "token"), "from-home\n");
    assert.equal(token({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }), undefined);
  });
});

describe("HF_HUB_OFFLINE", () => {
  for (const [value, offline] of [
    ["1", true],
    ["yes", true],
    ["TRUE", true],
    ["on", true],
    ["0", false],
    ["", false],
    ["no", false],
  ] as const)
    test(`${JSON.stringify(value)} means ${offline ? "offline" : "online"}`, () =>
      assert.equal(hubSettings({ HF_HUB_OFFLINE: value }).offline, offline));
});

describe("HF_ENDPOINT", () => {
  test("loses its trailing slash", () =>
    assert.equal(
      hubSettings({ HF_ENDPOINT: "https://mirror.example/hub/" }).endpoint,
      "https://mirror.example/hub",
    ));

  test("is refused with a password, which is not shown", () =>
    assert.throws(
      () => hubSettings({ HF_ENDPOINT: "https://me:secret@hub.example" }),
      ({ message }: ModelError) =>
        /^HF_ENDPOINT: it contains a user name or a password/.test(message) && !/secret/.test(message),
    ));

  test("does not show a token that was given in its place", () =>
    refused(() => hubSettings({ HF_ENDPOINT: "hf_secretsecret" }), "HF_ENDPOINT", /: "hf_…" is not a valid/));

  test("is refused if it is not an address", () =>
    refused(
      () => hubSettings({ HF_ENDPOINT: "hub.example" }),
      "HF_ENDPOINT",
      /"hub\.example" is not a valid address/,
    ));
});

describe("withoutTokens", () => {
  test("hides the token in use", () =>
    assert.equal(withoutTokens("Bearer abc-1 is bad", { value: "abc-1", source: "x" }), "Bearer … is bad"));

  test("hides what looks like a token", () =>
    assert.equal(withoutTokens("Bearer hf_abcdefgh is bad", null), "Bearer hf_… is bad"));
});

describe("the cache folder", () => {
  test("is HF_HUB_CACHE first of all", () =>
    assert.equal(hubCache({ HF_HUB_CACHE: folder(), HF_HOME: "/none" }), folder()));

  test("is inside HF_HOME", () =>
    assert.equal(hubCache({ HF_HOME: folder(), XDG_CACHE_HOME: "/none" }), join(folder(), "hub")));

  test("is inside XDG_CACHE_HOME", () =>
    assert.equal(hubCache({ XDG_CACHE_HOME: folder() }), join(folder(), "huggingface", "hub")));

  test("is inside ~/.cache by default", () =>
    assert.equal(hubCache({}), join(homedir(), ".cache", "huggingface", "hub")));
});
