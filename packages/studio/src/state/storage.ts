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

/** The name of the record of when a file was last used. */
const useOf = (name: string): string => `used:${name}`;

/** @returns what the operation's request has found, once the transaction is complete */
async function perform<T>(
  mode: IDBTransactionMode,
  operation: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const transaction = (await database).transaction(storeName, mode);
  const request = operation(transaction.objectStore(storeName));
  // Browsers take back a transaction that is open when its page is left, but not one that is being committed.
  transaction.commit();
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Files stay this long after their last use: other tabs, also those closed for a while, have drafts of their own. */
const keptMilliseconds = 7 * 24 * 60 * 60 * 1000;

/** Files that outlive a reload, by name. */
export const files = {
  get: async <T>(name: string): Promise<T | null> => {
    const value = (await perform("readonly", (store) => store.get(name))) as T | undefined;
    if (value === undefined) return null;
    await perform("readwrite", (store) => store.put(Date.now(), useOf(name)));
    return value;
  },
  /** Keeps a value as it is now, even if the page is left at once; undefined deletes what was kept. */
  put: async (name: string, value: unknown): Promise<void> => {
    if (value === undefined) return deleteFile(name);
    await perform("readwrite", (store) => {
      store.put(Date.now(), useOf(name));
      return store.put(value, name);
    });
  },
  /** Deletes what has not been used for a week. */
  forgetUnused: async (): Promise<void> => {
    const stored = (await perform("readonly", (store) => store.getAllKeys())).map(String);
    for (const name of stored.filter((key) => stored.includes(useOf(key)))) {
      const used = await perform("readonly", (store) => store.get(useOf(name)));
      if (Date.now() - Number(used) > keptMilliseconds) await deleteFile(name);
    }
  },
} as const;

async function deleteFile(name: string): Promise<void> {
  await perform("readwrite", (store) => {
    store.delete(useOf(name));
    return store.delete(name);
  });
}
