import type { Reserve } from "../data-folder/reserve.js";
import type { RedisDispatcher } from "../dispatch/redis/dispatcher.js";
import type { Ledger } from "../ledger/ledger.js";

export interface Health {
  readonly ready: boolean;
  /** "ok", or one sentence about what is wrong. */
  readonly checks: Readonly<{ ledger: string; disk: string; redis?: string }>;
}

export interface HealthTools {
  readonly ledger: Ledger;
  readonly reserve: Reserve;
  /** Null without Redis. */
  readonly redis: RedisDispatcher | null;
  readonly onProblem: (message: string, error: unknown) => void;
}

/** Checks whether jobs can be accepted and run. */
export async function healthOf({ ledger, reserve, redis, onProblem }: HealthTools): Promise<Health> {
  const checks = {
    ledger: ledgerHealth(ledger, onProblem),
    disk: (await reserve.hasRoom()) ? "ok" : "The disk is full.",
    ...(redis && { redis: redis.health }),
  };
  return { ready: Object.values(checks).every((check) => check === "ok"), checks };
}

function ledgerHealth(ledger: Ledger, onProblem: HealthTools["onProblem"]): string {
  try {
    ledger.check();
    return "ok";
  } catch (error) {
    onProblem("The ledger does not answer.", error);
    return "The ledger does not answer.";
  }
}
