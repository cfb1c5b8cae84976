/**
 * Passes events on one by one: the source waits while its reader is busy. Once another caller waits for it to end, it
 * runs on, and the reader finds the events later. A reader that waits for the source itself, or has gone away, therefore
 * blocks no other caller.
 * @param source has all its resources freed when it ends.
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
  // A failure belongs to the reader, who finds it in `ahead`.
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
