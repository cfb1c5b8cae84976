import ioredis = require("ioredis");

import { certificateProblem } from "../../certificates.js";

export interface LinkOptions {
  readonly url: string;
  /** The channel whose messages are received. */
  readonly channel: string;
  readonly onMessage: (message: string) => void;
  /** Called whenever Redis can be reached again, also the first time. */
  readonly onReady: () => void;
  readonly onProblem: (message: string, error: unknown) => void;
  /** The longest pause between two tries to connect. */
  readonly retryMs: number;
}

/** How long Redis may take to answer. */
const silenceMs = 5000;
const pingMs = 2500;

/** The versions that BullMQ asks for. Valkey says 7.2 and above. */
const oldestVersion = [6, 2] as const;

/**
 * Commands fail at once while Redis is away, and none is sent twice: a claim that was sent again would take a second job.
 */
const options: ioredis.RedisOptions = {
  enableOfflineQueue: false,
  // The link resubscribes itself: if the connection broke again while ioredis resubscribed, the error would be
  // uncaught.
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: silenceMs,
  // Also detects a network that drops everything.
  socketTimeout: silenceMs,
  // A Redis that has become a replica: its successor has the same address.
  reconnectOnError: ({ message }) => message.startsWith("READONLY"),
};

/** The connections to Redis: one for commands, one for messages. Both come back by themselves. */
export class RedisLink {
  readonly redis: ioredis.Redis;
  readonly #messages: ioredis.Redis;
  readonly #onReady: () => void;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #pings: NodeJS.Timeout;
  /** Why Redis is away. */
  #reason = "it has not answered yet";
  /** The last refusal of a command; null after one that was carried out. */
  #refusal: string | null = null;
  #reported = false;
  /** Resolves once the first connection has succeeded or failed. */
  readonly #tried: Promise<void>;
  #endTry: () => void = () => {};
  #connections = 0;
  #upSince = 0;

  constructor({ url, channel, onMessage, onReady, onProblem, retryMs }: LinkOptions) {
    this.#onReady = onReady;
    this.#onProblem = onProblem;
    this.#tried = new Promise((resolve) => (this.#endTry = resolve));
    const retryStrategy = (times: number): number => Math.min(50 * 2 ** Math.min(times, 10), retryMs);
    this.redis = new ioredis.Redis(url, { ...options, retryStrategy });
    this.#messages = new ioredis.Redis(url, { ...options, retryStrategy });
    this.#messages.on("error", () => {});
    this.redis.on("error", (error) => this.#away(error));
    this.redis.on("close", () => this.#away(null));
    this.redis.on("ready", () => this.#came());
    this.#messages.on("ready", () => void this.#listen(channel));
    this.#messages.on("message", (_channel, message: string) => onMessage(message));
    // Without pings, a dead connection for messages would go unnoticed.
    this.#pings = setInterval(() => {
      for (const redis of [this.redis, this.#messages])
        if (redis.status === "ready") redis.ping().catch(() => {});
    }, pingMs);
    this.#pings.unref();
  }

  /** Whether commands can be sent. */
  get up(): boolean {
    return this.redis.status === "ready";
  }

  /** When Redis was last reached after it had been away, of `performance.now()`; −∞ if it has never been away. */
  get cameBackAt(): number {
    return this.#connections > 1 ? this.#upSince : Number.NEGATIVE_INFINITY;
  }

  /** "ok", or a sentence about what is wrong. */
  get health(): string {
    if (!this.up)
      return `Redis cannot be reached (${this.#reason}); jobs are accepted, and start when it is back.`;
    return this.#refusal === null ? "ok" : `Redis refuses commands (${this.#refusal}).`;
  }

  /** Does work with Redis. @returns what it returns, or `otherwise` if Redis is away or refuses. */
  async attempt<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    await this.#tried;
    if (!this.up) return otherwise;
    try {
      const result = await work();
      this.#refusal = null;
      return result;
    } catch (error) {
      if (this.up) {
        this.#refusal = reasonOf(error);
        this.report("Redis refused a command.", error);
      }
      return otherwise;
    }
  }

  /** Reports a failure, without the arguments of commands, which may be secrets. */
  report(message: string, error: unknown): void {
    this.#onProblem(message, new Error((error as Error).message));
  }

  close(): void {
    clearInterval(this.#pings);
    this.#endTry();
    for (const redis of [this.redis, this.#messages]) redis.disconnect();
  }

  async #listen(channel: string): Promise<void> {
    try {
      await this.#messages.subscribe(channel);
      // Messages sent in between have been missed.
      if (this.up) this.#onReady();
    } catch {
      // The connection is gone; the next one subscribes.
    }
  }

  #came(): void {
    this.#reported = false;
    this.#reason = "the connection was closed";
    this.#connections++;
    this.#upSince = performance.now();
    this.#endTry();
    this.#onReady();
    void this.#examine();
  }

  /** @param error null if the connection was closed without one, or after one that was reported. */
  #away(error: unknown): void {
    if (error !== null) this.#reason = reasonOf(error);
    this.#endTry();
    if (this.#reported || this.redis.status === "end") return;
    this.#reported = true;
    this.report("Redis cannot be reached.", error ?? new Error(this.#reason));
  }

  /** Says what is wrong with the Redis that was reached. */
  async #examine(): Promise<void> {
    try {
      const info = await this.redis.info();
      const fact = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1] ?? "";
      const version = fact("valkey_version") || fact("redis_version");
      const [major = 0, minor = 0] = version.split(".").map(Number);
      if (major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1]))
        this.#onProblem(
          `Redis has version ${version}; BullMQ needs ${oldestVersion.join(".")} or newer.`,
          null,
        );
      const policy = fact("maxmemory_policy");
      if (policy !== "" && policy !== "noeviction")
        this.#onProblem(
          `Redis may evict jobs: its maxmemory-policy is ${policy}; set it to noeviction.`,
          null,
        );
    } catch {
      // The connection is gone; the next one is examined.
    }
  }
}

/** The words of an error, which never have the password. */
function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const said = message.replace(/\.$/, "");
  if (/^(WRONGPASS|NOAUTH)\b/.test(message)) return `it refuses the user or password in its address: ${said}`;
  return certificateProblem(error as Error) ?? code ?? said;
}
