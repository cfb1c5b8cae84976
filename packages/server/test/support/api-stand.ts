import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { ApiClient } from "../../src/fleet/api-client.js";

/** A client of a server that answers as a test says. */
export async function clientOf(t: TestContext, answer: RequestListener): Promise<ApiClient> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return new ApiClient({ url: `http://127.0.0.1:${port}`, token: "secret", process: "0123abcd" });
}

/** The body of a refusal. */
export const refusal = (code: string): string =>
  JSON.stringify({ error: { code, message: `It is ${code}.` } });
