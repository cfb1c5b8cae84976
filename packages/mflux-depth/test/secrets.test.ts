import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import sharp from "sharp";
import { readPhoto } from "../src/images/decode.js";
import { withoutSecrets, withoutServiceTokens } from "../src/secrets.js";

const secrets = {
  MFLUX_DEPTH_TOKEN: "secret 1",
  MFLUX_DEPTH_WORKER_TOKEN: "secret 2",
  NODETOOL_WORKER_TOKEN: "secret 3",
  MFLUX_DEPTH_REDIS: "rediss://fleet:secret@redis.example",
  HF_TOKEN: "secret 4",
  HUGGING_FACE_HUB_TOKEN: "secret 5",
};
const others = { PATH: "/bin", HF_HOME: "/models", HF_TOKEN_PATH: "/token" };

describe("an environment", () => {
  test("without service tokens keeps the Hub's, for downloads", () => {
    const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN } = secrets;
    assert.deepEqual(withoutServiceTokens({ ...secrets, ...others }), {
      HF_TOKEN,
      HUGGING_FACE_HUB_TOKEN,
      ...others,
    });
  });

  test("without secrets keeps everything else", () => {
    assert.deepEqual(withoutSecrets({ ...secrets, ...others }), others);
  });

  test("without secrets has no other spelling of them, which is the same variable on Windows", () => {
    assert.deepEqual(withoutSecrets({ hf_token: "secret" }), {});
  });
});

/** Environments of the processes that this one has started and that still run. */
function environmentsOfChildren(): string[] {
  const children = readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  return children.flatMap((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").slice(0, -1).join("\n") || [];
    } catch {
      // It has ended.
      return [];
    }
  });
}

test("the process that decodes an image gets no token", {
  skip: process.platform !== "linux" && "looks into /proc",
}, async () => {
  const large = await sharp({ create: { width: 3000, height: 3000, channels: 3, background: "red" } })
    .png()
    .toBuffer();
  Object.assign(process.env, secrets);
  const seen: string[] = [];
  const watch = setInterval(() => seen.push(...environmentsOfChildren()), 1);
  try {
    await readPhoto(large);
  } finally {
    clearInterval(watch);
    for (const name of Object.keys(secrets)) delete process.env[name];
  }
  assert.ok(seen.some((environment) => environment.includes("PATH=")));
  assert.doesNotMatch(seen.join("\n"), /secret \d/);
});
