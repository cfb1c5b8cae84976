/*
 * Answers that are pictures and depth maps.
 */
import { createHash } from "node:crypto";
import type { FastifyReply } from "fastify";
import { type DepthMap, encodeMap, type MapFormat, reencode, toNpy } from "mflux-depth/images";
import type { StoredPicture } from "../jobs/service.js";

export type { MapFormat };

export const imageFormats = ["png", "jpeg", "webp"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export const mapFormats = ["png", "png16", "npy"] as const satisfies readonly MapFormat[];

const arrayMime = "application/octet-stream";

/**
 * Sets the entity tag of an answer.
 * @returns whether the client has this version already and gets a 304.
 */
export function isUnchanged(reply: FastifyReply, tag: string): boolean {
  const quoted = `"${tag}"`;
  reply.header("etag", quoted);
  const known = reply.request.headers["if-none-match"];
  return known?.split(",").some((one) => [quoted, "*"].includes(one.trim().replace(/^W\//, ""))) ?? false;
}

/** Sends a picture, converted and resized if the request asks for it. */
export async function sendPicture(
  reply: FastifyReply,
  { bytes, mime, width, sha256 }: StoredPicture,
  wanted: { readonly format?: ImageFormat; readonly width?: number },
): Promise<FastifyReply> {
  reply.header("cache-control", "private, no-cache");
  const format = wanted.format ?? (mime.slice("image/".length) as ImageFormat);
  const isSmaller = wanted.width !== undefined && wanted.width < width;
  if (isUnchanged(reply, `${sha256}-${format}${isSmaller ? `-${wanted.width}` : ""}`))
    return reply.code(304).send();
  const isAsStored = mime === `image/${format}` && !isSmaller;
  const body = isAsStored ? bytes : await reencode(bytes, format, isSmaller ? { width: wanted.width } : {});
  return reply.type(`image/${format}`).send(asBuffer(body));
}

/** Sends a depth map. */
export async function sendMap(reply: FastifyReply, map: DepthMap, format: MapFormat): Promise<FastifyReply> {
  reply.header("cache-control", "private, no-cache");
  const values = Buffer.from(map.data.buffer, map.data.byteOffset, map.data.byteLength);
  const digest = createHash("sha256").update(values).digest("hex");
  if (isUnchanged(reply, `${digest}-${map.width}-${format}`)) return reply.code(304).send();
  return reply.type(format === "npy" ? arrayMime : "image/png").send(asBuffer(await encodeMap(map, format)));
}

/** Sends float32 values in NumPy's format. */
export const sendArray = (reply: FastifyReply, { data, width, height }: DepthMap): FastifyReply =>
  reply.type(arrayMime).send(asBuffer(toNpy(data, width, height)));

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
