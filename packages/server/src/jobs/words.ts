/** How a job ended, as part of a sentence. */
export const outcomes = { succeeded: "succeeded", failed: "failed", cancelled: "was cancelled" } as const;

/** The state of a job, as part of a sentence. */
export const states = { queued: "is queued", running: "is running", ...outcomes } as const;
