/** An id that nobody else has. `crypto.randomUUID` exists only where pages are secure, which they are not in a home network. */
export const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
