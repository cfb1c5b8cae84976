/*
 * A network that can be cut: passes connections on to another place.
 */
import { once } from "node:events";
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
  type Socket,
} from "node:net";

/** How a cut looks to both ends. */
export type Cut =
  /** Connections break, and new ones are refused. */
  | "closed"
  /** Connections stay, and nothing arrives any more, as when a cable is pulled. */
  | "silent";

export class TcpProxy {
  readonly #target: NetConnectOpts;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut: Cut | null = null;
  /** The next command at which a connection breaks, before it arrives. */
  #fragile: { readonly command: string; readonly broken: () => void } | null = null;

  private constructor(target: NetConnectOpts) {
    this.#target = target;
    this.#server = createServer((client) => this.#connect(client));
  }

  /** Listens on a free port of this machine. */
  static async listen(target: NetConnectOpts): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  cut(how: Cut): void {
    this.#cut = how;
    for (const socket of this.#sockets) {
      if (how === "closed") socket.destroy();
      else socket.removeAllListeners("data").resume();
    }
  }

  /** Passes new connections on. Those that were cut stay so. */
  restore(): void {
    this.#cut = null;
  }

  /** Breaks the connection on which a command of Redis is sent next. @returns when that has happened. */
  breakAt(command: string): Promise<void> {
    return new Promise((broken) => (this.#fragile = { command, broken }));
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #connect(client: Socket): void {
    this.#keep(client);
    if (this.#cut === "closed") client.destroy();
    if (this.#cut !== null) return;
    const target = connect(this.#target);
    this.#keep(target);
    client.on("data", (data) => this.#breakIfFragile(client, data));
    this.#join(client, target);
    this.#join(target, client);
  }

  #join(from: Socket, to: Socket): void {
    from.on("data", (data) => from.destroyed || to.write(data));
    from.on("close", () => to.destroy());
  }

  #breakIfFragile(client: Socket, data: Buffer): void {
    const { command, broken } = this.#fragile ?? {};
    if (command === undefined || !data.includes(`\r\n${command}\r\n`)) return;
    this.#fragile = null;
    client.destroy();
    broken!();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {});
  }
}
