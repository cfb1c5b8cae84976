/**
 * Passes events on one by one, while the source waits for a busy reader. Once another caller waits for the source to
 * end, it continues, and the reader gets the events later. So a reader that waits for its own source, or has abandoned
 * it, does not block other callers.
 * @param source frees all its resources when it ends.
 * @param awaited resolves when another caller waits.
 * @param abandon ends the source at its next `await`; called when the reader leaves.
 */
export async function* readAhead<T>(
  source: AsyncGenerator<T, void, void>,
  awaited: Promise<void>,
  abandon: () => void,
): AsyncGenerator<T, void, void> {
  const ahead: Promise<IteratorResult<T, void>>[] = [];
  let left = false;
  const runOn = async (): Promise<void> => {
    while (!left) {
      const next = source.next();
      ahead.push(next);
      if ((await next).done) return;
    }
  };
  // A failure is reported to the reader, through `ahead`.
  awaited.then(runOn).catch(() => {});
  try {
    for (;;) {
      const next = await (ahead.shift() ?? source.next());
      if (next.done) return;
      yield next.value;
    }
  } finally {
    left = true;
    abandon();
    await source.return();
  }
}
