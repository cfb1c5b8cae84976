/* The ids of uploaded pictures, made of the hash of their bytes. */
import type { JsonSchema } from "mflux-depth/options";

const prefix = "sha256-";
const pattern = `^${prefix}[0-9a-f]{64}$`;
const form = new RegExp(pattern);

/** @param sha256 64 hexadecimal digits */
export const blobIdOf = (sha256: string): string => `${prefix}${sha256}`;

/** The hash in an id; undefined for anything else. */
export const hashOfBlob = (id: unknown): string | undefined =>
  typeof id === "string" && form.test(id) ? id.slice(prefix.length) : undefined;

/** A reference to an uploaded picture in JSON. */
export const blobReference: JsonSchema = {
  type: "object",
  properties: { blob: { type: "string", pattern } },
  required: ["blob"],
  additionalProperties: false,
};
