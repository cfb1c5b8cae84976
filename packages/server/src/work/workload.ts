import type { JobRecord } from "../ledger/jobs.js";

/** Jobs with the same workload take about the same time for a step, and for everything else. */
export const workloadOf = ({ load, request }: Pick<JobRecord, "load" | "request">): string => {
  const { width, height, image, depth_image } = request;
  const pictures = [image ?? null, depth_image ?? null].map((picture) => picture !== null);
  return JSON.stringify({ load, width, height, pictures });
};
