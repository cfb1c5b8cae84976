/* Whether the server requires its token, and how the view sends it. */
import { signal } from "@preact/signals";

/** True once the server has refused a request because there is no session. */
export const locked = signal(false);

/** Increases with every successful sign-in, so that refused requests are sent again. */
export const signIns = signal(0);

/**
 * Starts a session with the server's token. The token is not kept; the server sets a cookie.
 * @returns whether the server accepted it
 * @throws {TypeError} when the server does not answer
 * @throws {Error} when it refuses for another reason
 */
export async function signIn(token: string): Promise<boolean> {
  const response = await fetch("/v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (response.status === 401) return false;
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  locked.value = false;
  signIns.value += 1;
  return true;
}
