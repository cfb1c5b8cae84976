/*
 * Browser sessions. A cookie holds a random number, its expiry and a signature. So sessions survive restarts without
 * being stored, and all end when the token changes.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** 30 days. */
export const sessionSeconds = 30 * 24 * 3600;

export class Sessions {
  readonly #key: Buffer;

  /** @param secret the server's own, @param token changing it ends all sessions. */
  constructor(secret: Uint8Array, token: string) {
    this.#key = createHmac("sha256", secret).update(token).digest();
  }

  /** A new session's cookie. */
  start(now = Date.now()): string {
    const content = `${Math.floor(now / 1000) + sessionSeconds}.${randomBytes(16).toString("base64url")}`;
    return `${content}.${this.#sign(content)}`;
  }

  /** Whether a cookie is one of a session that has not ended. */
  has(cookie: string, now = Date.now()): boolean {
    const end = cookie.lastIndexOf(".");
    if (end < 0 || cookie.length > 200) return false;
    const [content, signature] = [cookie.slice(0, end), Buffer.from(cookie.slice(end + 1))];
    const expected = Buffer.from(this.#sign(content));
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) return false;
    return Number(content.split(".")[0]) * 1000 > now;
  }

  #sign(content: string): string {
    return createHmac("sha256", this.#key).update(content).digest("base64url");
  }
}
