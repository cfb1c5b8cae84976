/* Actions that the server refused or that did not reach it. */
import { signal } from "@preact/signals";
import { RefusedError, ServerAwayError } from "./api.js";

/** Why the last action failed, until the person dismisses it. */
export const failure = signal<"away" | { readonly message: string } | null>(null);

/** Carries out an action of the person, and reports its failure. Errors of the page itself also go to the console. */
export function attempt(action: Promise<unknown>): void {
  failure.value = null;
  action.catch((error: unknown) => {
    if (error instanceof ServerAwayError) failure.value = "away";
    else failure.value = { message: error instanceof Error ? error.message : String(error) };
    if (!(error instanceof ServerAwayError || error instanceof RefusedError)) console.error(error);
  });
}
