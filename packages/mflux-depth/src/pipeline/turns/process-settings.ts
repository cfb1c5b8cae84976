/*
 * MLX has one default device, one number of threads and one cache limit for the whole process, but instances choose
 * their own. Settings hold while an instance computes, and are restored afterwards. Instances with equal settings
 * compute at the same time; others wait.
 */
import {
  backend,
  type DeviceType,
  defaultDevice,
  memory,
  setDefaultDevice,
  setThreads,
} from "@mflux-depth/mlx";
import { untilAborted } from "../../abort.js";
import { Turn } from "./turn.js";

/** The settings of one instance; undefined leaves the process's own value. */
export interface ComputeSettings {
  readonly device: DeviceType;
  readonly threads: number | undefined;
  /** Bytes. */
  readonly cacheLimit: number | undefined;
}

/** A setting of the process that can be replaced temporarily. */
class Setting<T> {
  readonly #read: () => T;
  readonly #write: (value: T) => void;
  #own: { readonly value: T } | null = null;

  constructor(read: () => T, write: (value: T) => void) {
    this.#read = read;
    this.#write = write;
  }

  /** The process's own value, even while it is replaced. */
  get own(): T {
    return this.#own ? this.#own.value : this.#read();
  }

  replace(value: T | undefined): void {
    if (value === undefined) return;
    this.#own = { value: this.#read() };
    this.#write(value);
  }

  restore(): void {
    if (this.#own) this.#write(this.#own.value);
    this.#own = null;
  }
}

const device = new Setting(defaultDevice, setDefaultDevice);
const threads = new Setting(() => backend().blas.threads, setThreads);
const cacheLimit = new Setting(memory.cacheLimit, memory.setCacheLimit);

/** The process's own default device, even while an instance uses another. */
export const ownDefaultDevice = (): DeviceType => device.own;

/** The process's own number of CPU threads, even while an instance uses another. */
export const ownThreads = (): number => threads.own;

interface Visit {
  readonly settings: ComputeSettings;
  readonly turn: Turn;
  readonly admit: () => void;
}

/** The instances that compute now, all with the same settings. */
const inside = new Set<Visit>();
/** The waiting instances, in the order of their calls. */
const waiting: Visit[] = [];

/**
 * Waits until no instance computes with other settings, and makes these the process's settings until the turn ends.
 * @throws the signal's reason when it is aborted first.
 */
export async function enterWith(settings: ComputeSettings, signal: AbortSignal): Promise<Turn> {
  signal.throwIfAborted();
  let admit = (): void => {};
  const admitted = new Promise<void>((resolve) => {
    admit = resolve;
  });
  const turn = new Turn(() => {
    inside.delete(visit);
    admitWaiting();
  });
  const visit: Visit = { settings, turn, admit };
  waiting.push(visit);
  admitWaiting();
  try {
    await untilAborted(admitted, signal);
  } catch (error) {
    if (waiting.includes(visit)) waiting.splice(waiting.indexOf(visit), 1);
    turn.end();
    throw error;
  }
  return turn;
}

/**
 * Admits waiting instances whose settings agree with the current ones, in order, and tells those inside that others
 * wait.
 */
function admitWaiting(): void {
  if (inside.size === 0) for (const setting of [device, threads, cacheLimit]) setting.restore();
  for (let next = waiting[0]; next && mayEnter(next.settings); next = waiting[0]) {
    if (inside.size === 0) apply(next.settings);
    inside.add(next);
    waiting.shift();
    next.admit();
  }
  if (waiting.length > 0) for (const { turn } of inside) turn.await();
}

function mayEnter(settings: ComputeSettings): boolean {
  const [current] = inside;
  if (!current) return true;
  const { device, threads, cacheLimit } = current.settings;
  return settings.device === device && settings.threads === threads && settings.cacheLimit === cacheLimit;
}

function apply(settings: ComputeSettings): void {
  device.replace(settings.device);
  threads.replace(settings.threads);
  cacheLimit.replace(settings.cacheLimit);
}
