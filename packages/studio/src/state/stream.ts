/*
 * The events of all jobs, over one connection for all tabs: browsers allow six connections to a server, and each open
 * stream takes one. The tab that holds a lock reads the stream and passes the events on. The visible tab takes the
 * lock, because browsers may freeze the others.
 */
import type { EventData, EventName, JobObject, StreamData } from "@mflux-depth/server/contract";
import { signal } from "@preact/signals";

type Names = EventData & StreamData;

/** An event of the stream of all jobs. */
export type StreamEvent = {
  [Name in keyof Names]: {
    readonly event: Name;
    readonly data: Names[Name] & (Name extends EventName ? { readonly job: string } : unknown);
  };
}[keyof Names];

/** "lost" means that the page shows the last known state and keeps trying. */
export const connection = signal<"connecting" | "open" | "lost">("connecting");

/** Increases when events may have been missed, so that failed requests can be repeated. */
export const resyncs = signal(0);

/** All event names of the stream, which EventSource requires. */
const names = [
  ...["queued", "started", "load", "stage", "step", "preview", "warning", "resumed"],
  ...["succeeded", "failed", "cancelled", "updated", "deleted", "queue"],
] as const satisfies readonly (keyof Names)[];

export interface StreamListener {
  event(event: StreamEvent): void;
  /** Events may have been missed: everything shown must be requested again. */
  resync(): void;
}

const lockName = "mflux-depth:events";
const retryMilliseconds = { first: 500, longest: 5000 };

type Message =
  | { readonly type: "event"; readonly id: string; readonly event: StreamEvent }
  | {
      readonly type: "connection";
      readonly state: "open" | "lost";
      /** Whether the stream starts with new events, so that earlier ones may have been missed. */
      readonly afresh: boolean;
    };

/** Follows the stream until the signal aborts. */
export function followEvents(listener: StreamListener, signal: AbortSignal): void {
  // Locks require a secure context; without them, each tab reads its own stream.
  const channel = navigator.locks ? new BroadcastChannel(lockName) : null;
  let lastId: string | null = null;
  let isOpen = false;

  const take = (message: Message): void => {
    if (message.type === "event") {
      lastId = message.id;
      listener.event(message.event);
      return;
    }
    connection.value = message.state;
    const missed = message.state === "open" && (!isOpen || message.afresh);
    isOpen = message.state === "open";
    if (missed) {
      resyncs.value += 1;
      listener.resync();
    }
  };
  const tell = (message: Message): void => {
    take(message);
    channel?.postMessage(message);
  };

  const lead = async (until: AbortSignal): Promise<void> => {
    await readStream(() => lastId, tell, until);
    // Events before the next tab opens its stream may be missed.
    isOpen = false;
  };
  if (!channel) {
    void lead(signal);
    return;
  }
  channel.onmessage = ({ data }) => take(data as Message);
  signal.addEventListener("abort", () => channel.close());
  void takeTurns(lead, signal);
}

/** Leads while this tab has the lock, and takes the lock when the tab becomes visible. */
async function takeTurns(lead: (until: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
  let leading = false;
  const compete = async (steal: boolean): Promise<void> => {
    const turn = new AbortController();
    const until = AbortSignal.any([signal, turn.signal]);
    try {
      await navigator.locks.request(lockName, { steal }, async () => {
        leading = true;
        await lead(until);
      });
    } catch (error) {
      // Another tab took the lock.
      if (!(error instanceof DOMException)) throw error;
    }
    leading = false;
    turn.abort();
    if (!signal.aborted) void compete(false);
  };
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible" && !leading) void compete(true);
    },
    { signal },
  );
  await compete(document.visibilityState === "visible");
}

/** Reads the stream, and reconnects when it breaks, until the signal aborts. */
async function readStream(
  lastId: () => string | null,
  tell: (message: Message) => void,
  signal: AbortSignal,
): Promise<void> {
  let wait = retryMilliseconds.first;
  let closed = (): void => {};
  signal.addEventListener("abort", () => closed());
  while (!signal.aborted) {
    const after = lastId();
    const source = new EventSource(after === null ? "/v1/events" : `/v1/events?after=${after}`);
    await new Promise<void>((resolve) => {
      source.onopen = () => {
        wait = retryMilliseconds.first;
        tell({ type: "connection", state: "open", afresh: after === null });
      };
      source.onerror = () => {
        tell({ type: "connection", state: "lost", afresh: false });
        resolve();
      };
      closed = resolve;
      for (const name of names)
        source.addEventListener(name, ({ data, lastEventId }: MessageEvent<string>) => {
          const event = { event: name, data: JSON.parse(data) } as StreamEvent;
          tell({ type: "event", id: lastEventId, event });
        });
    });
    source.close();
    if (signal.aborted) return;
    await pause(wait, signal);
    wait = Math.min(2 * wait, retryMilliseconds.longest);
  }
}

/** Waits, but at most until the network returns or the signal aborts. */
const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });

/** The job contained in an event, if there is one. */
export const resultOf = ({ data }: StreamEvent): JobObject | null => ("result" in data ? data.result : null);
