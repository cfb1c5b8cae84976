/* All jobs, newest first, loaded in pages as the filmstrip needs them. */
import type { JobObject, JobPage } from "@mflux-depth/server/contract";
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { api } from "./api.js";
import { attempt } from "./failures.js";
import { forget, isGone, jobs, learn } from "./jobs.js";

/** Words to find in prompts. */
export const query = signal("");
export const starredOnly = signal(false);

interface Pages {
  /** The ids of the jobs on the pages read so far. */
  readonly ids: ReadonlySet<string>;
  /** The cursor of the next page; null when there is none, undefined before the first. */
  readonly cursor: string | null | undefined;
}

const nothing: Pages = { ids: new Set(), cursor: undefined };
const pages = signal<Pages>(nothing);
const reading = signal(false);
/** Jobs hidden while their deletion can be undone. */
const deleting = signal<ReadonlySet<string>>(new Set());

export const isReading = computed(() => reading.value);
export const hasMore = computed(() => pages.value.cursor !== null);

/** Times and ids are ASCII, and locale-aware comparison would be slow for thousands of jobs. */
const newestFirst = (a: JobObject, b: JobObject): number =>
  compare(b.created_at, a.created_at) || compare(b.id, a.id);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The jobs of the filmstrip. Without a search for words, they include jobs that the page has just learned of or starred. */
export const history = computed<readonly JobObject[]>(() => {
  const { ids, cursor } = pages.value;
  const listed = [...jobs.value.values()].filter(
    (job) => !deleting.value.has(job.id) && (!starredOnly.value || job.starred),
  );
  const found = listed.filter(({ id }) => ids.has(id)).sort(newestFirst);
  // Only the server knows which words a search finds.
  if (query.value !== "") return found;
  // Including older jobs would leave a gap before the next page.
  const oldest = cursor === null ? "" : (found.at(-1)?.created_at ?? "");
  return listed.filter(({ id, created_at }) => ids.has(id) || created_at >= oldest).sort(newestFirst);
});

/** The first page is small, because the page waits for it; later ones are as large as the server allows. */
const pageSize = { first: 40, more: 200 };
/** Answers to earlier searches are dropped. */
let question = 0;

/** Reads the next page, if there is one and none is being read. */
export async function readMore(): Promise<void> {
  const { cursor, ids } = pages.value;
  if (reading.value || cursor === null) return;
  await read(cursor, cursor === undefined ? pageSize.first : pageSize.more, ({ data, next_cursor }) => ({
    ids: new Set([...ids, ...data.map(({ id }) => id)]),
    cursor: next_cursor,
  }));
}

/** Requests a page and appends it. @param after the pages with the answer included */
async function read(
  cursor: string | undefined,
  limit: number,
  after: (page: JobPage) => Pages,
): Promise<void> {
  reading.value = true;
  const mine = question;
  try {
    const page = await api.jobs({
      query: query.value,
      starred: starredOnly.value,
      limit,
      ...(cursor !== undefined && { cursor }),
    });
    if (mine !== question) return;
    batch(() => {
      learn(page.data);
      pages.value = after(page);
    });
  } finally {
    if (mine === question) reading.value = false;
  }
}

/** Clears the pages and reads the first page of a new search. */
async function searchAnew(): Promise<void> {
  question += 1;
  batch(() => {
    pages.value = nothing;
    reading.value = false;
  });
  await readMore();
}

/**
 * Reads the newest jobs again, because the page may have missed new or finished ones. Older pages stay, so that the
 * filmstrip keeps its scroll position, unless there is a gap to them.
 */
export async function rereadHistory(): Promise<void> {
  if (pages.value.cursor === undefined) return searchAnew();
  question += 1;
  const { ids } = pages.value;
  const limit = Math.min(Math.max(ids.size, pageSize.first), pageSize.more);
  await read(undefined, limit, (page) => {
    const listed = new Set(page.data.map(({ id }) => id));
    const oldest = page.next_cursor === null ? undefined : page.data.at(-1);
    const known = [...ids].map((id) => jobs.value.get(id)).filter((job) => job !== undefined);
    const isOlder = (job: JobObject): boolean => oldest !== undefined && newestFirst(oldest, job) < 0;
    const older = known.filter(isOlder).map(({ id }) => id);
    // A job that is missing among the newest has been deleted.
    for (const job of known) if (!listed.has(job.id) && !isOlder(job)) forgetUnlisted(job.id);
    const isJoined = page.data.some(({ id }) => ids.has(id));
    return isJoined && older.length > 0
      ? { ids: new Set([...listed, ...older]), cursor: pages.value.cursor }
      : { ids: listed, cursor: page.next_cursor };
  });
}

/** Forgets a job that is missing in the unfiltered list; a filtered list proves nothing. */
function forgetUnlisted(id: string): void {
  if (query.value === "" && !starredOnly.value) forget(id);
}

/** Reads again whenever the search changes. */
export function followSearch(): () => void {
  let first = true;
  return effect(() => {
    void query.value;
    void starredOnly.value;
    // Tracking the pages as well would read them forever.
    if (!first) untracked(() => void searchAnew().catch(() => undefined));
    first = false;
  });
}

/** Stars or unstars a job; the change is shown at once. */
export async function setStarred(job: JobObject, starred: boolean): Promise<void> {
  learn([{ ...job, starred }]);
  try {
    learn([await api.update(job.id, { starred })]);
  } catch (error) {
    learn([job]);
    throw error;
  }
}

/** The deletion that can still be undone. */
export const undoable = signal<{ readonly id: string; readonly undo: () => void } | null>(null);
const undoMilliseconds = 7000;
let carryOut: ((leaving?: boolean) => void) | null = null;

/** Hides a job at once, and deletes it when the time for undo is over. */
export function removeLater(id: string): void {
  carryOut?.();
  deleting.value = new Set([...deleting.value, id]);
  const show = (): void => {
    deleting.value = new Set([...deleting.value].filter((other) => other !== id));
  };
  const settle = (): void => {
    clearTimeout(timer);
    carryOut = null;
    if (undoable.value?.id === id) undoable.value = null;
  };
  carryOut = (leaving = false) => {
    settle();
    attempt(
      api.remove(id, leaving).then(
        () => forget(id),
        (error: unknown) => {
          if (isGone(error)) return forget(id);
          show();
          throw error;
        },
      ),
    );
  };
  const timer = setTimeout(() => carryOut?.(), undoMilliseconds);
  undoable.value = {
    id,
    undo: () => {
      settle();
      show();
    },
  };
}

/** Carries out a pending deletion when the person leaves the page. */
export const settleDeletion = (): void => carryOut?.(true);
