import { setTimeout as sleep } from "node:timers/promises";
import { type WaitListener, WaitReport } from "./waiting.js";

/** Retry limits for a bad connection. */
export interface Patience {
  /** How many retries in a row may fail without receiving a byte. */
  readonly retries: number;
  /** The pause before the first retry, in milliseconds; it doubles with each retry. */
  readonly delayMs: number;
  /** A connection that receives nothing for this long counts as broken. */
  readonly stallMs: number;
  /** The maximum time for a complete answer of the Hub's API. Files may take any time, at a thousand bytes a second. */
  readonly answerMs: number;
  /** How long a file may arrive too slowly before giving up. */
  readonly slowMs: number;
  /** How often waits are reported. */
  readonly reportMs: number;
}

export const usualPatience: Patience = {
  retries: 5,
  delayMs: 500,
  stallMs: 20_000,
  answerMs: 60_000,
  slowMs: 60_000,
  reportMs: 5000,
};

/** The longest wait that a server may request. */
const longestWaitMs = 5 * 60_000;

/** Retries if the server is unreachable, does not answer, or sends almost nothing. */
const fewRetries = 2;

/** A failure that may not recur at the next attempt. */
export class Transient extends Error {
  constructor(
    message: string,
    readonly options: ErrorOptions & {
      /** The wait requested by the server. */
      readonly afterMs?: number | undefined;
      /** The server does not exist, so a long wait is useless. */
      readonly unreachable?: boolean;
      /** The server accepts connections but sends no answer; each attempt has already waited long. */
      readonly silent?: boolean;
      /** The server sends only a few bytes per attempt, and would take forever. */
      readonly slow?: boolean;
    } = {},
  ) {
    super(message, options);
  }
}

export interface RetryOptions {
  readonly patience: Patience;
  readonly signal: AbortSignal | undefined;
  /** Whether the last attempt made progress, which resets the count of failures. */
  readonly gained?: (() => boolean) | undefined;
  /** The error to throw after the last failure. */
  readonly giveUp: (error: Transient, attempts: number) => Error;
  readonly onWait?: WaitListener | undefined;
}

/**
 * Repeats an attempt while it fails with {@link Transient}, at growing intervals or after the wait that the server asks
 * for.
 * @throws the error of `giveUp` when patience runs out; other errors of the attempt immediately.
 * @throws the signal's reason when cancelled.
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  { patience, signal, gained = () => false, giveUp, onWait }: RetryOptions,
): Promise<T> {
  const { retries, delayMs, reportMs } = patience;
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      const { afterMs, unreachable = false, silent = false, slow = false } = error.options;
      if (gained() && !slow) failures = 1;
      const tooLong = afterMs !== undefined && afterMs > longestWaitMs;
      if (failures > (unreachable || silent || slow ? Math.min(retries, fewRetries) : retries) || tooLong)
        throw giveUp(error, failures);
      const wait = afterMs ?? delayMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      using _report = new WaitReport(`the next attempt (${error.message})`, onWait, reportMs);
      await sleep(wait, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}
