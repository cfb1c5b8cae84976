import { untilAborted } from "../abort.js";

/** Lets one caller in at a time, in the order of the calls. */
export class Queue {
  #last: Promise<void> = Promise.resolve();

  /**
   * Waits until every earlier caller has left.
   * @returns a function that lets the next caller in.
   * @throws the signal's reason when it is aborted first.
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const before = this.#last;
    let leave = (): void => {};
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.#last = before.then(() => left);
    try {
      await untilAborted(before, signal);
    } catch (error) {
      leave();
      throw error;
    }
    return leave;
  }
}
