/*
 * A Redis that speaks only TLS and knows one user, and TLS in front of a server that has none.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer as createTlsServer, connect as tlsConnect } from "node:tls";
import { type Certificates, keyPairOf } from "./certificates.js";
import { temporaryFolder } from "./folder.js";
import { withoutRedis } from "./redis.js";

/** As {@link withoutRedis}, for a Redis with TLS. */
export const withoutRedisTls: string | false =
  withoutRedis || (process.env.MFLUX_DEPTH_TEST_REDIS !== "required" && whyNot());

function whyNot(): string | false {
  if (spawnSync("openssl", ["version"]).error)
    return "openssl is not installed; install it to run these tests.";
  return speaksTls()
    ? false
    : "This redis-server was built without TLS; install one with it (Debian: apt-get install redis-server) to run these tests.";
}

/** A build with TLS complains about a missing key; one without does not know the flag, or cannot speak TLS. */
function speaksTls(): boolean {
  const flags = ["--port", "0", "--tls-port", "1", "--tls-cert-file", "/nowhere"];
  const { stdout, stderr } = spawnSync("redis-server", flags, { encoding: "utf8" });
  return /configure TLS/.test(stdout + stderr);
}

/** Starts a Redis with TLS and a user `fleet`. It is killed after the test. @returns its address, with the password in it. */
export async function startTlsRedis(
  t: TestContext,
  certificates: Certificates,
  password: string,
): Promise<string> {
  const port = await freePort();
  const { authority, certificate, key } = certificates;
  const child = spawn(
    "redis-server",
    [
      ...["--bind", "127.0.0.1", "--port", "0", "--tls-port", `${port}`, "--tls-auth-clients", "no"],
      ...["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority],
      ...["--save", "", "--appendonly", "no", "--dir", temporaryFolder(t)],
      ...["--user", "default", "off", "--user", "fleet", "on", `>${password}`, "~*", "&*", "+@all"],
    ],
    { stdio: "ignore" },
  );
  t.after(() => child.kill("SIGKILL"));
  while (!(await isReachable(port, authority))) {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}.`);
    await sleep(20);
  }
  return `rediss://fleet:${password}@127.0.0.1:${port}`;
}

/** Puts TLS in front of a port of this machine. It ends after the test. @returns its address. */
export async function startTlsProxy(
  t: TestContext,
  certificates: Certificates,
  port: number,
): Promise<string> {
  const server = createTlsServer(keyPairOf(certificates), (client) => {
    const target = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const)
      from.pipe(to).on("error", () => from.destroy());
    t.after(() => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `https://localhost:${(server.address() as AddressInfo).port}`;
}

async function isReachable(port: number, authority: string): Promise<boolean> {
  const socket = tlsConnect({ port, host: "127.0.0.1", ca: readFileSync(authority) });
  try {
    await once(socket, "secureConnect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
