/** A module without a file, for Node's `--import`. */
export const inUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;
