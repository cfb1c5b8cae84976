/*
 * What the page keeps in the browser: small facts as JSON, pictures in IndexedDB.
 */

const prefix = "mflux-depth:";

/** Reads a fact of this tab, or of the last tab that wrote it. */
export function recall<T>(name: string): T | null {
  const text = sessionStorage.getItem(prefix + name) ?? localStorage.getItem(prefix + name);
  if (text === null) return null;
  try {
    return JSON.parse(text) as T;
  } catch {
    // Something else wrote it.
    return null;
  }
}

/** Keeps a fact: a reload of this tab finds it, and so does the next new tab. */
export function remember(name: string, value: unknown): void {
  const text = JSON.stringify(value);
  sessionStorage.setItem(prefix + name, text);
  localStorage.setItem(prefix + name, text);
}

const storeName = "files";

const database = new Promise<IDBDatabase>((resolve, reject) => {
  const request = indexedDB.open("mflux-depth", 1);
  request.onupgradeneeded = () => request.result.createObjectStore(storeName);
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function perform<T>(
  mode: IDBTransactionMode,
  operation: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const store = (await database).transaction(storeName, mode).objectStore(storeName);
  const request = operation(store);
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Files that outlive a reload, by name. */
export const files = {
  get: async <T>(name: string): Promise<T | null> =>
    ((await perform("readonly", (store) => store.get(name))) as T | undefined) ?? null,
  put: async (name: string, value: unknown): Promise<void> =>
    void (await perform("readwrite", (store) => store.put(value, name))),
  /** Deletes all files but those named. */
  keepOnly: async (names: readonly string[]): Promise<void> => {
    const stored = await perform("readonly", (store) => store.getAllKeys());
    for (const key of stored)
      if (!names.includes(String(key))) await perform("readwrite", (store) => store.delete(key));
  },
} as const;
