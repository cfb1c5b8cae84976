import { untilAborted } from "../../abort.js";
import { Turn } from "./turn.js";

/** Admits one caller at a time, in the order of the calls. */
export class Queue {
  #last: { readonly turn: Turn; readonly left: Promise<void> } | null = null;

  /**
   * Waits until every earlier caller has left, and tells the last of them that somebody waits.
   * @returns the turn, whose end lets the next caller in.
   * @throws the signal's reason when it is aborted first.
   */
  async enter(signal: AbortSignal): Promise<Turn> {
    signal.throwIfAborted();
    const before = this.#last;
    let leave = (): void => {};
    const ended = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const turn = new Turn(leave);
    const left = Promise.all([before?.left, ended]).then(() => {});
    this.#last = { turn, left };
    before?.turn.await();
    try {
      await untilAborted(before?.left ?? Promise.resolve(), signal);
    } catch (error) {
      turn.end();
      throw error;
    }
    return turn;
  }
}
