import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileNameOf } from "../../src/commands/file-name.js";
import { commandsOf } from "../../src/commands/index.js";

const origin = "http://127.0.0.1:4280";
const blob = `sha256-${"a".repeat(64)}`;
const job = {
  request: {
    prompt: `it's "quoted" and $HOME\nover two lines`,
    image: { blob },
    depth_image: null,
    invert_depth: false,
    trust_depth: true,
    image_strength: 0.25,
    seed: 7,
    lora_scales: [0.75, -1],
  },
  load: {
    model: "tiny-world",
    int8: false,
    loras: [
      { source: "them/night sky", scale: 0.5 },
      { source: "ink", scale: 1 },
    ],
  },
  seed: 7,
  image: null,
};
const { cli, curl, typescript, python } = commandsOf(job, { origin, usesToken: false });

describe("the file of an image", () => {
  test("has a name that file systems take, however long the words of its prompt are", () => {
    const name = fileNameOf({ ...job, request: { prompt: `${"語".repeat(500)} at dusk` } });
    assert.ok(Buffer.byteLength(name) < 255, name);
    assert.match(name, /-7\.png$/);
  });
});

describe("the commands of a job", () => {
  test("give a shell the options as they are", () => {
    // The shell itself says which words it reads.
    const words = execFileSync("sh", ["-c", `npx() { printf '%s\\0' "$@"; }; curl() { :; }; ${cli}`], {
      encoding: "utf8",
    }).split("\0");
    assert.equal(words[words.indexOf("--prompt") + 1], job.request.prompt);
    assert.equal(words[words.indexOf("--image") + 1], "image.png");
    assert.ok(words.includes("--trust-depth") && words.includes("--no-int8"));
    const lora = words.indexOf("--lora");
    assert.deepEqual(words.slice(lora, lora + 6), [
      "--lora",
      "them/night sky",
      "0.75",
      "--lora",
      "ink",
      "-1",
    ]);
    assert.ok(!words.includes("--invert-depth") && !words.includes("--depth-image"));
  });

  test("fetch the pictures that they need", () => {
    assert.ok(cli.includes(`curl --fail --output image.png ${origin}/v1/blobs/${blob}`));
    assert.ok(typescript.includes(`fetch("${origin}/v1/blobs/${blob}")`));
  });

  test("give curl a body that is the request", () => {
    const body = execFileSync(
      "sh",
      ["-c", `curl() { for w in "$@"; do last=$w; done; printf '%s' "$last"; }; ${curl}`],
      {
        encoding: "utf8",
      },
    );
    const { request, load } = JSON.parse(body) as { request: object; load: object };
    assert.deepEqual(request, Object.fromEntries(Object.entries(job.request).filter(([, v]) => v !== null)));
    assert.deepEqual(load, job.load);
  });

  test("are written in the words of their language", () => {
    assert.ok(typescript.includes("trustDepth: true,") && typescript.includes("  image,"));
    assert.ok(python.includes('"trust_depth": True') && python.includes('"int8": False'));
  });

  test("keep a prompt that starts with a dash apart from flags", () => {
    const request = { ...job.request, prompt: "- a list" };
    const { cli } = commandsOf({ ...job, request }, { origin, usesToken: false });
    assert.ok(cli.includes("--prompt='- a list'"), cli);
  });

  test("read the token of a server that needs one from the environment, and only then", () => {
    const variable = /MFLUX_DEPTH_TOKEN/g;
    const header = '--header "Authorization: Bearer $MFLUX_DEPTH_TOKEN"';
    const locked = commandsOf(job, { origin, usesToken: true });
    assert.ok(locked.cli.includes(`curl --fail ${header} --output image.png`));
    assert.equal(locked.curl.split(header).length, 3);
    assert.match(locked.typescript, /authorization: `Bearer \$\{process\.env\.MFLUX_DEPTH_TOKEN\}`/);
    assert.match(locked.typescript, /fetch\("[^"]+", \{ headers \}\)/);
    assert.match(locked.python, /os\.environ\["MFLUX_DEPTH_TOKEN"\]/);
    assert.equal(locked.python.match(/headers=headers\)/g)?.length, 2);
    for (const text of [cli, curl, typescript, python]) assert.doesNotMatch(text, variable);
  });
});
