/* Starts everything that follows the server and the draft. */
import { effect, untracked } from "@preact/signals";
import { ServerAwayError } from "./api.js";
import { readCapabilities } from "./capabilities.js";
import { followPictures, retryDepth, retryFailedDepth } from "./depth.js";
import { followPlan } from "./generation.js";
import { followSearch, rereadHistory, settleDeletion } from "./history.js";
import { resyncJobs, takeJobEvent } from "./jobs.js";
import { followMask } from "./mask.js";
import { followLeaving } from "./news.js";
import { resyncQueue, takeQueueEvent } from "./queue.js";
import { locked, signIns } from "./session.js";
import { followMissing, followNewPictures, followShown, rereadShown } from "./shown.js";
import { followEvents, type StreamEvent } from "./stream.js";

/** Connects the page to its server, for as long as the page lives. */
export function startStudio(): void {
  const never = new AbortController().signal;
  followLeaving(never);
  followSearch();
  followPictures();
  followMask();
  followPlan();
  followMissing();
  followShown();
  followNewPictures();
  window.addEventListener("pagehide", settleDeletion);
  // A refused stream is opened again after each sign-in.
  effect(() => {
    const stop = new AbortController();
    const again = signIns.value > 0;
    untracked(() => {
      followEvents({ event: takeEvent, resync: () => void resync() }, stop.signal);
      if (again) retryDepth();
      // Requested at once: unlike the stream, the answer shows whether the server requires its token.
      void ask(readCapabilities);
    });
    return () => stop.abort();
  });
}

function takeEvent(event: StreamEvent): void {
  takeJobEvent(event);
  takeQueueEvent(event);
}

/** Requests everything shown, after connecting or missing events. */
async function resync(): Promise<void> {
  retryFailedDepth();
  await Promise.all([readCapabilities, resyncJobs, resyncQueue, rereadHistory, rereadShown].map(ask));
}

/** Failures are ignored: the stream reconnects when the server is back, and a sign-in restarts it; both ask again. */
async function ask(question: () => Promise<void>): Promise<void> {
  try {
    await question();
  } catch (error) {
    if (!(error instanceof ServerAwayError || locked.value)) throw error;
  }
}
