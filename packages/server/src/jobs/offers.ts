import type { Offer } from "../dispatch/dispatcher.js";
import type { LedgerView } from "../dispatch/redis/options.js";
import type { JobPlace, JobRecord } from "../ledger/jobs.js";
import type { Ledger } from "../ledger/ledger.js";

/** A job as the dispatcher takes it. */
export const offerOf = ({ id, priority, arrival, model, attempt }: JobPlace | JobRecord): Offer => ({
  id,
  priority,
  arrival,
  model,
  attempt,
});

/** What the ledger says of jobs, for a dispatcher that others share. */
export const ledgerView = ({ jobs, settings }: Ledger, heard: LedgerView["heard"]): LedgerView => ({
  id: settings.ledgerId,
  *waiting() {
    for (const place of jobs.places("queued")) yield offerOf(place);
  },
  *running() {
    for (const place of jobs.places("running")) yield { ...offerOf(place), worker: place.worker! };
  },
  find(id) {
    const job = jobs.find(id);
    return job?.finishedAt === null ? offerOf(job) : null;
  },
  heard,
});
