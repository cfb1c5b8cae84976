import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { CapabilitiesObject, JobObject } from "../../src/contract/index.js";
import { bodies, hashParams } from "../../src/http/routes/internal-schemas.js";
import { errorOf, jobBody, TestServer } from "../support/server.js";

const server = await TestServer.start();
const json = async <T>(path: string): Promise<T> => (await (await server.fetch(path)).json()) as T;

interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly parameters?: readonly { in: string; name: string; required?: boolean; schema: object }[];
  readonly requestBody?: { content: Record<string, { schema: object }> };
  readonly responses: Record<string, { description: string; content?: Record<string, { schema?: object }> }>;
}
interface Description {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, object> };
}

const description = await json<Description>("/openapi.json");
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe("the description of the interface", () => {
  test("is OpenAPI 3.1 with every route of the contract", () => {
    assert.equal(description.openapi, "3.1.0");
    assert.deepEqual(
      operations
        .filter(({ method }) => method !== "head")
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
      [
        "delete /v1/jobs/{id}",
        "get /livez",
        "get /metrics",
        "get /openapi.json",
        "get /readyz",
        "get /v1/blobs/{id}",
        "get /v1/blobs/{id}/map",
        "get /v1/capabilities",
        "get /v1/events",
        "get /v1/jobs",
        "get /v1/jobs/{id}",
        "get /v1/jobs/{id}/depth",
        "get /v1/jobs/{id}/events",
        "get /v1/jobs/{id}/image",
        "get /v1/jobs/{id}/images/{number}",
        "get /v1/jobs/{id}/previews/{step}",
        "get /v1/models",
        "get /v1/models/{id}",
        "get /v1/queue",
        "get /v1/workers",
        "patch /v1/jobs/{id}",
        "post /v1/blobs",
        "post /v1/depth",
        "post /v1/images/edits",
        "post /v1/images/generations",
        "post /v1/jobs",
        "post /v1/jobs/{id}/cancel",
        "post /v1/jobs/{id}/retry",
        "post /v1/plan",
        "post /v1/queue/pause",
        "post /v1/queue/resume",
        "post /v1/session",
        "post /v1/workers/{id}/drain",
        "post /v1/workers/{id}/resume",
      ].sort(),
    );
  });

  test("gives every operation a unique name, a sentence, answers and the error object", () => {
    const names = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(names).size, names.length);
    for (const { path, method, operation } of operations) {
      assert.ok(operation.summary, `${method} ${path}`);
      assert.ok(operation.responses.default?.content?.["application/json"], `${method} ${path}`);
      assert.ok(Object.keys(operation.responses).length > 1, `${method} ${path}`);
    }
  });

  test("lists every type that an answer may have", () => {
    const typesOf = (path: string, method: string) =>
      description.paths[path]![method]!.responses["200"]!.content!;
    for (const route of ["generations", "edits"])
      assert.deepEqual(Object.keys(typesOf(`/v1/images/${route}`, "post")), [
        "application/json",
        "text/event-stream",
      ]);
    assert.deepEqual(typesOf("/openapi.json", "get")["application/json"]!.schema, {
      $ref: "#/components/schemas/OpenApi",
    });
  });

  test("describes every parameter of its paths", () => {
    for (const { path, method, operation } of operations) {
      const inPath = (operation.parameters ?? []).filter((one) => one.in === "path").map(({ name }) => name);
      assert.deepEqual(
        inPath.sort(),
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort(),
        `${method} ${path}`,
      );
    }
  });

  test("refers to nothing that it lacks", () => {
    for (const [, name] of JSON.stringify(description).matchAll(/"\$ref":"([^"]+)"/g)) {
      const [, component] = /^#\/components\/schemas\/(\w+)$/.exec(name!) ?? [];
      assert.ok(component !== undefined && component in description.components.schemas, name);
    }
  });

  test("has valid JSON Schemas for all that requests send, those of workers as well", () => {
    const described = operations.flatMap(({ operation: { parameters = [], requestBody } }) => [
      ...parameters.map(({ schema }) => schema),
      ...Object.values(requestBody?.content ?? {}).map(({ schema }) => schema),
    ]);
    assert.ok(described.length > 40);
    const ajv = new Ajv2020({ strict: false });
    for (const schema of [...described, ...Object.values(bodies), hashParams])
      assert.ok(ajv.validateSchema(schema), `${JSON.stringify(schema)}: ${ajv.errorsText()}`);
  });

  test("fits the objects that the server sends", async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: "api", components: description.components });
    const check = (name: string, value: unknown): void => {
      const validate = ajv.compile({ $ref: `api#/components/schemas/${name}` });
      assert.ok(validate(value), JSON.stringify(validate.errors));
    };
    const job = await server.submit({}, "/v1/jobs?wait=60");
    check("Job", job);
    check("JobPage", await json("/v1/jobs"));
    check("Queue", await json("/v1/queue"));
    check("Workers", await json("/v1/workers"));
    check("Models", await json("/v1/models"));
    check("Capabilities", await json("/v1/capabilities"));
    check("Readiness", await json("/readyz"));
    check("Plan", await (await server.send("POST", "/v1/plan", jobBody())).json());
    check("Error", await (await server.fetch("/v1/none")).json());
  });

  test("documents forms and streams as well as JSON", () => {
    const { content } = description.paths["/v1/jobs"]!.post!.requestBody!;
    assert.deepEqual(Object.keys(content).sort(), ["application/json", "multipart/form-data"]);
    assert.ok(description.paths["/v1/events"]!.get!.responses["200"]!.content!["text/event-stream"]);
  });
});

describe("the capabilities", () => {
  test("have the options with ranges, defaults, titles and descriptions", async () => {
    const { kinds, load, defaults, limits } = await json<CapabilitiesObject>("/v1/capabilities");
    const { properties } = kinds.generate as { properties: Record<string, Record<string, unknown>> };
    const { steps, depth_near: near } = properties;
    assert.equal(steps!.default, 20);
    assert.equal(steps!.title, "Steps");
    assert.match(String(steps!.description), /Denoising/);
    assert.deepEqual((steps!.anyOf as object[])[0], { type: "integer", minimum: 1, maximum: 50 });
    assert.equal(near!.default, 100);
    const { best_of: bestOf } = properties;
    assert.equal(bestOf!.default, 1);
    assert.deepEqual((bestOf!.anyOf as object[])[0], { type: "integer", minimum: 1, maximum: 100 });
    assert.ok("quantize" in (load as { properties: object }).properties);
    assert.equal(defaults.model, "tiny-world");
    assert.equal(limits.prompt_characters, 4000);
  });

  test("list the depth estimators with licence, size and measured time", async () => {
    const { estimators } = await json<CapabilitiesObject>("/v1/capabilities");
    const pro = estimators.find(({ id }) => id === "apple/DepthPro-hf")!;
    assert.match(pro.licence, /research only/);
    assert.ok(pro.memory_bytes > 2e9 && pro.cpu_seconds! > 0);
    assert.deepEqual([pro.ready, pro.offered], [false, false]);
    const large = estimators.find(({ id }) => id.endsWith("Large-hf"))!;
    assert.equal(large.cpu_seconds, null);
  });

  test("have schemas that accept what the server accepts", async () => {
    const { kinds } = await json<CapabilitiesObject>("/v1/capabilities");
    const validate = new Ajv2020({ strict: false }).compile(kinds.generate);
    const { request } = jobBody() as { request: object };
    assert.ok(validate(request));
    assert.ok(!validate({ ...request, steps: 51 }));
    assert.ok(!validate({ ...request, stepz: 1 }));
  });
});

describe("the metrics", () => {
  test("count jobs by state and outcome, and measure times", async () => {
    const job = await server.submit({}, "/v1/jobs?wait=60");
    assert.equal(job.state, "succeeded");
    const metrics = async (): Promise<string> => (await server.fetch("/metrics")).text();
    let text = await metrics();
    // The worker needs a moment to let go of the job.
    while (!text.includes('mflux_depth_workers{state="idle"} 1')) text = await metrics();
    for (const pattern of [
      /^mflux_depth_jobs\{state="succeeded"\} [1-9]/m,
      /^mflux_depth_jobs\{state="queued"\} 0/m,
      /^mflux_depth_jobs_total\{outcome="succeeded"\} [1-9]/m,
      /^mflux_depth_queue_wait_seconds_count [1-9]/m,
      /^mflux_depth_job_duration_seconds_count [1-9]/m,
      /^mflux_depth_step_duration_seconds_count [1-9]/m,
      /^mflux_depth_model_load_seconds_count [1-9]/m,
      /^mflux_depth_sse_clients 0/m,
      /^mflux_depth_claims_total [1-9]/m,
      /^mflux_depth_takeovers_total 0/m,
    ])
      assert.match(text, pattern);
    assert.doesNotMatch(text, new RegExp(`${job.id}|red cube|redis`));
  });
});

describe("the probes", () => {
  test("say that the process answers", async () => assert.equal((await server.fetch("/livez")).status, 200));

  test("say what is ready", async () => {
    const response = await server.fetch("/readyz");
    const { ready, checks } = (await response.json()) as { ready: boolean; checks: Record<string, string> };
    assert.deepEqual([response.status, ready, checks.ledger], [200, true, "ok"]);
  });
});

describe("a worker", () => {
  test("is listed, drained and resumed", async () => {
    const { data } = await json<{ data: { id: string; state: string }[] }>("/v1/workers");
    const change = async (name: string): Promise<string> => {
      const response = await server.fetch(`/v1/workers/${data[0]!.id}/${name}`, { method: "POST" });
      return ((await response.json()) as { state: string }).state;
    };
    assert.equal(await change("drain"), "draining");
    const job = await server.submit();
    assert.equal(await change("resume"), "idle");
    assert.equal((await server.finished(job.id)).state, "succeeded");
  });
});

test("the log has a line for each request and each change of a job, without prompts", async () => {
  const job = await server.submit({ request: { prompt: "a secret prompt" } }, "/v1/jobs?wait=60");
  const lines = server.log
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const changes = lines.filter((line) => line.job === job.id).map(({ state }) => state);
  assert.deepEqual(changes, ["queued", "started", "succeeded"]);
  assert.ok(
    lines.some(({ method, path, status }) => method === "POST" && path === "/v1/jobs" && status === 200),
  );
  assert.doesNotMatch(server.log, /secret prompt/);
});

test("with --log-prompts the log has prompts", async () => {
  const other = await TestServer.start({ argv: ["--log-prompts"] });
  const job = (await (await other.send("POST", "/v1/jobs?wait=60", jobBody())).json()) as JobObject;
  assert.equal(job.state, "succeeded");
  assert.match(other.log, /"prompt":"a red cube"/);
});

test("the studio, or a page that says it is not built, is at the root", async () => {
  const response = await server.fetch("/");
  assert.match(response.headers.get("content-type")!, /text\/html/);
  assert.match(response.headers.get("content-security-policy")!, /default-src 'self'/);
  assert.ok(response.status === 200 || response.status === 404);
  assert.equal((await errorOf(await server.fetch("/none.js"))).status, 404);
});
