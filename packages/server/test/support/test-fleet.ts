import type { Claim, ClaimRequest, Dispatcher, Offer } from "../../src/dispatch/dispatcher.js";
import { RedisDispatcher, type RedisDispatcherOptions } from "../../src/dispatch/redis/dispatcher.js";
import { TestLedger } from "./test-ledger.js";

export interface TestFleetOptions extends Omit<RedisDispatcherOptions, "ledger"> {
  /** Whether workers share the API's dispatcher; by default each has its own. */
  readonly together?: boolean;
}

/** The dispatchers of an API and its workers, used as one: records in the ledger what the API and workers would. */
export class TestFleet implements Dispatcher {
  readonly ledger = new TestLedger();
  readonly api: RedisDispatcher;
  readonly #options: TestFleetOptions;
  readonly #workers = new Map<string, RedisDispatcher>();

  constructor(options: TestFleetOptions) {
    this.#options = options;
    this.api = new RedisDispatcher({ ...options, ledger: this.ledger });
    this.api.onLost((claim) => this.ledger.interrupt(claim));
  }

  /** The dispatcher of a worker. */
  of(worker: string): RedisDispatcher {
    const known = this.#workers.get(worker);
    if (known) return known;
    const made = this.#options.together ? this.api : new RedisDispatcher(this.#options);
    this.#workers.set(worker, made);
    return made;
  }

  async offer(offer: Offer): Promise<void> {
    await this.api.offer(this.ledger.add(offer));
  }

  async claim(request: ClaimRequest): Promise<Claim> {
    const claim = await this.of(request.worker).claim(request);
    this.ledger.begin(claim);
    return claim;
  }

  async renew(claim: Claim): Promise<boolean> {
    return this.of(claim.worker).renew(claim);
  }

  async finish(claim: Claim): Promise<boolean> {
    this.ledger.end(claim);
    return this.of(claim.worker).finish(claim);
  }

  async giveBack(claim: Claim): Promise<boolean> {
    this.ledger.interrupt(claim);
    return this.of(claim.worker).giveBack(claim);
  }

  async cancel(id: string): Promise<"removed" | "claimed" | "unknown"> {
    this.ledger.cancelQueued(id);
    return this.api.cancel(id);
  }

  async pause(): Promise<void> {
    await this.api.pause();
  }

  async resume(): Promise<void> {
    await this.api.resume();
  }

  onLost(listener: (claim: Claim) => void): () => void {
    return this.api.onLost(listener);
  }

  async close(): Promise<void> {
    for (const one of new Set([this.api, ...this.#workers.values()])) await one.close();
  }
}
