import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { type Certificates, makeCertificates } from "../support/certificates.js";
import { until } from "../support/fleet.js";
import { TestServer, temporaryFolder } from "../support/server.js";
import { startTlsProxy, startTlsRedis, withoutRedisTls } from "../support/tls.js";
import { WorkerProcess } from "../support/worker-process.js";

const options = { skip: withoutRedisTls };
const password = "open-sesame";
const workerToken = "token-of-the-worker";

const folder = temporaryFolder();
let certificates: Certificates;
before(() => {
  if (!withoutRedisTls) certificates = makeCertificates(folder);
});

/** Makes a process trust the authority of the certificates. */
const trusting = (): Record<string, string> => ({ NODE_EXTRA_CA_CERTS: certificates.authority });

function startApi(redis: string, env: Record<string, string> = trusting()): Promise<TestServer> {
  const tokens = join(temporaryFolder(), "tokens");
  writeFileSync(tokens, `a ${workerToken}\n`);
  const argv = ["--role", "api", "--worker-token-file", tokens];
  // The address has a password, which the list of processes would show.
  return TestServer.start({ argv, env: { ...env, MFLUX_DEPTH_REDIS: redis } });
}

/** What an API reports about its Redis once it is known to be unusable. */
async function redisHealth(api: TestServer): Promise<string> {
  return until(async () => {
    const { checks } = (await (await api.fetch("/readyz")).json()) as { checks: { redis: string } };
    return checks.redis === "ok" || /not answered yet|connection was closed/.test(checks.redis)
      ? undefined
      : checks.redis;
  });
}

/** A Redis with TLS, and an API that uses it. */
async function start(t: TestContext): Promise<{ redis: string; api: TestServer }> {
  const redis = await startTlsRedis(t, certificates, password);
  return { redis, api: await startApi(redis) };
}

test("a job is done over TLS, to Redis with a user and password, and to the API", options, async (t) => {
  const { redis, api } = await start(t);
  const url = await startTlsProxy(t, certificates, api.port);
  const worker = new WorkerProcess({ redis, api: url, token: workerToken, env: trusting() });
  const { id } = await api.submit();
  const job = await api.finished(id);
  assert.equal(job.state, "succeeded", `${JSON.stringify(job.error)}\n${worker.log}`);
  assert.match(job.worker!, /^a-/);
  assert.doesNotMatch(`${api.log}${worker.log}`, new RegExp(password));
});

test("a wrong password of Redis is named in /readyz and the log, and not shown", options, async (t) => {
  const redis = await startTlsRedis(t, certificates, password);
  const api = await startApi(redis.replace(password, "open-barley"));
  assert.match(
    await redisHealth(api),
    /^Redis cannot be reached \(it refuses the user or password.*WRONGPASS/,
  );
  assert.equal((await api.fetch("/livez")).status, 200);
  await until(async () => api.log.includes("WRONGPASS") || undefined);
  assert.doesNotMatch(api.log, /sesame|barley/);
});

test(
  "a Redis whose certificate is not trusted is not used, and the API says what to do",
  options,
  async (t) => {
    const redis = await startTlsRedis(t, certificates, password);
    const api = await startApi(redis, {});
    assert.match(
      await redisHealth(api),
      /^Redis cannot be reached \(its certificate is not trusted, SELF_SIGNED_CERT_IN_CHAIN; start this process with NODE_EXTRA_CA_CERTS=FILE/,
    );
    assert.doesNotMatch(api.log, /sesame/);
  },
);

test(
  "a worker that does not trust the API's certificate says what to do, and takes no job",
  options,
  async (t) => {
    const { redis, api } = await start(t);
    const url = await startTlsProxy(t, certificates, api.port);
    const { id } = await api.submit();
    const worker = new WorkerProcess({ redis, api: url, token: workerToken });
    await until(async () => worker.log.includes("no new jobs until the API answers") || undefined);
    assert.match(
      worker.log,
      /The API cannot be reached: its certificate is not trusted.*NODE_EXTRA_CA_CERTS/,
    );
    const job = (await (await api.fetch(`/v1/jobs/${id}`)).json()) as { state: string };
    assert.equal(job.state, "queued");
  },
);
