import { createHash } from "node:crypto";
import type { Offer } from "../dispatcher.js";

/** The names of what a fleet has in Redis besides BullMQ's own keys. */
export class Keys {
  readonly prefix: string;
  /** A hash: job → its last attempt and its queue, as `ATTEMPT QUEUE`. */
  readonly jobs: string;
  /** A hash: queue → the model of its jobs. */
  readonly queues: string;
  /** A hash: job → how often it was overtaken, and since when, as `COUNT MILLISECONDS`. */
  readonly overtaken: string;
  /** Present while jobs are held back. */
  readonly paused: string;
  /** The lock of the instance that is choosing a job. */
  readonly turn: string;
  /** The token of the instance that last made Redis agree with its ledger. It is lost when Redis is emptied. */
  readonly agreed: string;
  /** The id of the ledger whose jobs these are. */
  readonly owner: string;
  /** The channel on which all instances hear each other. */
  readonly channel: string;

  constructor(prefix: string) {
    this.prefix = prefix;
    const key = (name: string): string => `${prefix}:${name}`;
    this.jobs = key("jobs");
    this.queues = key("queues");
    this.overtaken = key("overtaken");
    this.paused = key("paused");
    this.turn = key("turn");
    this.agreed = key("agreed");
    this.owner = key("owner");
    this.channel = key("messages");
  }
}

/** The name of the queue for a model. Models are named by all their options, which may be long. */
export const queueName = (model: string): string =>
  createHash("sha256").update(model).digest("hex").slice(0, 16);

/** BullMQ's id for an attempt at a job. BullMQ ignores an id that it already has. */
export const bullId = (id: string, attempt: number): string => `${id}-${attempt}`;

/** The reverse of {@link bullId}. */
export function attemptOf(bull: string): { readonly id: string; readonly attempt: number } {
  const dash = bull.lastIndexOf("-");
  return { id: bull.slice(0, dash), attempt: Number(bull.slice(dash + 1)) };
}

/** BullMQ starts jobs with low numbers first, from 1; 0 would start before all of them. */
const middle = 1_000_000;

/** Ours, from −100 to 100, as one of BullMQ's. */
export const bullPriority = (priority: number): number => middle - priority;

/** What BullMQ multiplies a priority with, to count arrivals below it. */
const arrivals = 2 ** 32;

/** The place of a job in BullMQ's sorted set: as BullMQ computes it, but with our arrival instead of its counter. */
export const scoreOf = ({ priority, arrival }: Pick<Offer, "priority" | "arrival">): number =>
  bullPriority(priority) * arrivals + (arrival % arrivals);

/** The reverse of {@link scoreOf}. */
export const placeOf = (score: number): Pick<Offer, "priority" | "arrival"> => ({
  priority: middle - Math.floor(score / arrivals),
  arrival: score % arrivals,
});
