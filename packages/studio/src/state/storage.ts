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

/** The record of when a file was last used. */
const usePrefix = "used:";

const noteUse = (name: string): Promise<unknown> =>
  perform("readwrite", (store) => store.put(Date.now(), usePrefix + name));

/** Files stay this long after their last use: other tabs, also those closed for a while, have drafts of their own. */
const keptMilliseconds = 7 * 24 * 60 * 60 * 1000;

/** Files that outlive a reload, by name. */
export const files = {
  get: async <T>(name: string): Promise<T | null> => {
    const value = (await perform("readonly", (store) => store.get(name))) as T | undefined;
    if (value !== undefined) await noteUse(name);
    return value ?? null;
  },
  /** Keeps a value; undefined deletes what was kept. */
  put: async (name: string, value: unknown): Promise<void> => {
    if (value === undefined) return deleteFile(name);
    await perform("readwrite", (store) => store.put(value, name));
    await noteUse(name);
  },
  /** Deletes what has not been used for a week. */
  forgetUnused: async (): Promise<void> => {
    const stored = (await perform("readonly", (store) => store.getAllKeys())).map(String);
    for (const name of stored.filter((key) => !key.startsWith(usePrefix))) {
      const used = await perform("readonly", (store) => store.get(usePrefix + name));
      if (Date.now() - Number(used ?? 0) > keptMilliseconds) await deleteFile(name);
    }
  },
} as const;

async function deleteFile(name: string): Promise<void> {
  for (const key of [name, usePrefix + name]) await perform("readwrite", (store) => store.delete(key));
}
