/* Where clients find what belongs to a job. */

/** A job's picture: the best or only one, or one of several, from 1. */
export const imageUrl = (id: string, number?: number): string =>
  number === undefined ? `/v1/jobs/${id}/image` : `/v1/jobs/${id}/images/${number}`;

export const depthUrl = (id: string): string => `/v1/jobs/${id}/depth`;

export const previewUrl = (id: string, step: number): string => `/v1/jobs/${id}/previews/${step}`;
