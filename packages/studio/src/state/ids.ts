/** A unique id. `crypto.randomUUID` requires a secure page, which a server in a home network usually is not. */
export const newId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
