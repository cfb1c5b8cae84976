/*
 * Requests that browsers and fetch would not send.
 */
import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect, type Socket } from "node:net";
import type { TestServer } from "./server.js";

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface RawRequest {
  readonly method?: string;
  /** Sent unchanged, without resolving dots. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** Sends a request with any headers. */
export async function raw(server: Pick<TestServer, "port">, options: RawRequest = {}): Promise<RawAnswer> {
  const { method = "GET", path = "/v1/queue", headers = {}, body } = options;
  const sent = request({ host: "127.0.0.1", port: server.port, method, path, headers, agent: false });
  sent.end(body);
  const [response] = await once(sent, "response");
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  return { status: response.statusCode, headers: response.headers, body: text };
}

/** A connection on which anything can be written. */
export async function connection({ port }: TestServer): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

/** Everything that arrives until the other side closes. */
export async function readAll(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.setEncoding("utf8")) text += chunk;
  return text;
}
