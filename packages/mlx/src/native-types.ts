// biome-ignore lint/suspicious/noExplicitAny: replaced by the addon's own listing
export type Native = any;
