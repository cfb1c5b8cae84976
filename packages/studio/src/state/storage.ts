/* What the page stores in the browser: small values as JSON, pictures in IndexedDB. */

const prefix = "mflux-depth:";

/** Reads a value of this tab, or of the last tab that wrote it. */
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

/** Stores a value for reloads of this tab and for the next new tab. */
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

/** The name under which a file's last use is recorded. */
const useOf = (name: string): string => `used:${name}`;

/** @returns the result of the operation's request, once the transaction is complete */
async function perform<T>(
  mode: IDBTransactionMode,
  operation: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const transaction = (await database).transaction(storeName, mode);
  const request = operation(transaction.objectStore(storeName));
  // When a page is left, browsers roll back an open transaction, but not one that is being committed.
  transaction.commit();
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Keep files this long after their last use: other tabs, even closed ones, have drafts of their own. */
const keptMilliseconds = 7 * 24 * 60 * 60 * 1000;

/** Files that survive a reload, by name. */
export const files = {
  get: async <T>(name: string): Promise<T | null> => {
    const value = (await perform("readonly", (store) => store.get(name))) as T | undefined;
    if (value === undefined) return null;
    await perform("readwrite", (store) => store.put(Date.now(), useOf(name)));
    return value;
  },
  /** Stores a value as it is now, even if the page is left at once; undefined deletes it. */
  put: async (name: string, value: unknown): Promise<void> => {
    if (value === undefined) return deleteFile(name);
    await perform("readwrite", (store) => {
      store.put(Date.now(), useOf(name));
      return store.put(value, name);
    });
  },
  /** Deletes files that have not been used for a week. */
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
