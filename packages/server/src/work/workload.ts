import type { JobRecord } from "../ledger/jobs.js";

/** Jobs with the same workload take about the same time for a step, and for everything else. */
export const workloadOf = ({ load, request }: Pick<JobRecord, "load" | "request">): string => {
  const { width, height, image, mask_image, depth_image, best_of: bestOf } = request;
  const pictures = [image, mask_image, depth_image].map((picture) => (picture ?? null) !== null);
  return JSON.stringify({ load, width, height, pictures, bestOf });
};
