/* Jobs that finished while the page was not visible. */
import type { JobObject } from "@mflux-depth/server/contract";
import { batch, signal } from "@preact/signals";
import { recall, remember } from "./storage.js";

const name = "left-at";

/** When the page was last visible before now. */
const leftAt = signal<string | null>(recall<string>(name));
/** When the page became visible. */
const seenFrom = signal(new Date().toISOString());
const opened = signal<ReadonlySet<string>>(new Set());

/** Whether a job finished after the page was left, and has not been opened since. */
export const isNew = ({ id, finished_at, state }: JobObject): boolean =>
  leftAt.value !== null &&
  state === "succeeded" &&
  finished_at !== null &&
  finished_at > leftAt.value &&
  finished_at < seenFrom.value &&
  !opened.value.has(id);

export function markOpened(id: string): void {
  opened.value = new Set([...opened.value, id]);
}

/** Records when the page is left. Jobs that finish while it is visible are never new. */
export function followLeaving(signal: AbortSignal): void {
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "hidden") remember(name, new Date().toISOString());
      else
        batch(() => {
          leftAt.value = recall<string>(name);
          seenFrom.value = new Date().toISOString();
        });
    },
    { signal },
  );
}
