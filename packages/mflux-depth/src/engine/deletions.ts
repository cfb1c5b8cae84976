/*
 * The repositories that this process is deleting from the Hugging Face cache. A job or download that needs one of them
 * waits, because it would find files that are about to disappear.
 */
import { untilAborted } from "../abort.js";

/** Promises of the deletions in progress, by repository. */
const ongoing = new Map<string, Promise<unknown>>();

/** Carries out the deletion of a repository while others wait for it. */
export function whileDeleting<T>(repository: string, work: () => Promise<T>): Promise<T> {
  const deletion = work();
  const earlier = ongoing.get(repository);
  const ended = Promise.allSettled([earlier, deletion]).then(() => {
    if (ongoing.get(repository) === ended) ongoing.delete(repository);
  });
  ongoing.set(repository, ended);
  return deletion;
}

/**
 * Waits until none of the repositories is being deleted.
 * @returns null if none is.
 * @throws the signal's reason if it aborts first.
 */
export function untilDeleted(
  repositories: readonly string[],
  signal: AbortSignal | undefined,
): Promise<unknown> | null {
  const ends = repositories.flatMap((name) => ongoing.get(name) ?? []);
  return ends.length === 0 ? null : untilAborted(Promise.all(ends), signal);
}
