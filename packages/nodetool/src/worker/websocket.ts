import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { Worker } from "./worker.js";

/** Limits for a host that sends requests without reading the answers. */
interface Patience {
  /** Its requests wait while more bytes than this are unread. */
  readonly pauseBytes: number;
  /** The host is disconnected when more bytes than this are unread, several times the largest image. */
  readonly mostBytes: number;
  /** The host is disconnected after its requests have waited this long without any reading. */
  readonly stallMs: number;
}

const usualPatience: Patience = { pauseBytes: 2 ** 20, mostBytes: 2 ** 26, stallMs: 60_000 };

interface WebSocketOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Required as `Authorization: Bearer …`. If blank, every local program except web pages is served. */
  readonly token: string;
  readonly frameLimit: number;
  readonly patience?: Patience;
  /** Receives one line about each host that is disconnected. */
  readonly log: (line: string) => void;
}

interface WebSocketEndpoint {
  /** `ws://127.0.0.1:8787`. */
  readonly url: string;
  /** Closes all connections; their runs end. */
  close(): Promise<void>;
}

/** Serves any number of hosts: each binary message is one frame. */
export async function serveWebSocket(worker: Worker, options: WebSocketOptions): Promise<WebSocketEndpoint> {
  const { host, port, token, frameLimit, patience = usualPatience, log } = options;
  const sockets = new WebSocketServer({ noServer: true, maxPayload: frameLimit, perMessageDeflate: false });
  // Keep-alive detects a host that vanished with its machine, so that its runs end.
  const http = createServer({ keepAlive: true, keepAliveInitialDelay: 30_000 }, (_, response) => {
    response.writeHead(426, { "content-type": "text/plain", upgrade: "websocket", connection: "upgrade" });
    response.end("This is a NodeTool worker; it speaks WebSocket.\n");
  });
  http.on("upgrade", (request, socket, head) => {
    socket.on("error", () => socket.destroy());
    if (mayEnter(request, token))
      sockets.handleUpgrade(request, socket, head, (accepted) => serve(worker, accepted, patience, log));
    else refuse(socket);
  });
  await new Promise<void>((resolve, reject) => {
    http.once("error", reject);
    http.listen(port, host, () => resolve());
  });
  const { address, family, port: bound } = http.address() as AddressInfo;
  return {
    url: `ws://${family === "IPv6" ? `[${address}]` : address}:${bound}`,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

function serve(worker: Worker, socket: WebSocket, patience: Patience, log: (line: string) => void): void {
  const { pauseBytes, mostBytes, stallMs } = patience;
  const drop = (why: string): void => {
    log(`A host was disconnected: ${why}.`);
    socket.terminate();
  };
  const stall = (): void => drop(`it has read none of its answers for ${stallMs / 1000} s`);
  let stalled: NodeJS.Timeout | undefined;
  /** Called when a frame is queued or sent. */
  const adjust = (): void => {
    clearTimeout(stalled);
    if (socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > pauseBytes) {
      socket.pause();
      stalled = setTimeout(stall, stallMs);
    } else if (socket.isPaused) socket.resume();
  };
  const connection = worker.connect((payload) => {
    if (socket.readyState !== socket.OPEN) return;
    socket.send(payload, adjust);
    if (socket.bufferedAmount > mostBytes) drop(`${socket.bufferedAmount} bytes of its answers are unread`);
    else if (!socket.isPaused) adjust();
  });
  socket.on("message", (payload, isBinary) => {
    if (isBinary) connection.receive(payload as Buffer);
  });
  // The closing code tells the other end what went wrong (too large, not WebSocket).
  socket.on("error", () => {});
  socket.on("close", () => {
    clearTimeout(stalled);
    connection.close();
  });
}

/**
 * Without a token, requests with an origin are refused: browsers let any web page connect to this machine and send its
 * origin, whereas the host sends none.
 */
function mayEnter({ headers }: IncomingMessage, token: string): boolean {
  if (token === "") return headers.origin === undefined;
  return sameText(headers.authorization ?? "", `Bearer ${token}`);
}

/** Compares in a time that does not reveal where the texts differ. */
function sameText(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

function refuse(socket: Duplex): void {
  const body = "Unauthorized\n";
  socket.end(
    `HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}
