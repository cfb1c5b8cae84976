/*
 * Frames of NodeTool's bridge: MessagePack maps with `type`, `request_id` and `data`. A frame is measured before
 * decoding, because a few bytes can announce millions of elements, which decoders would allocate.
 */
import { Decoder, Encoder, ExtensionCodec } from "@msgpack/msgpack";
import { isRecord } from "mflux-depth/options";

/** The data of a request. */
export type FrameData = Readonly<Record<string, unknown>>;
/** The data of an answer. */
export type Answer = Readonly<Record<string, unknown>>;
/** Sends a frame about a request in progress: its progress, or a line for the user's log. */
export type Tell = (type: "progress" | "update", data: Answer) => void;

export interface Frame {
  readonly type: string;
  readonly request_id: string;
  readonly data: FrameData;
}

/** A frame that cannot be read, with its `requestId` if that could be found. */
export class FrameError extends Error {
  override readonly name = "FrameError";

  constructor(
    message: string,
    readonly requestId: string | null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The default limit of frames in both directions, equal to the host's. */
export const defaultFrameLimit = 256 * 1024 * 1024;

const extensions = new ExtensionCodec();
// The host's encoder writes `undefined` this way.
extensions.register({ type: 0, encode: () => null, decode: () => undefined });

/** Binary values are views of the frame's memory; copy them to keep them. */
const decoder = new Decoder({ extensionCodec: extensions, maxExtLength: 16 });

export const encodeFrame = (type: string, requestId: string | null, data: object): Uint8Array =>
  new Encoder({ ignoreUndefined: true }).encodeSharedRef({ type, request_id: requestId, data });

/** @throws {FrameError} when the bytes are not a frame. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const damaged = (reason: string, cause?: unknown): FrameError =>
    new FrameError(`The frame cannot be read: ${reason}.`, findRequestId(bytes), { cause });
  measure(bytes, damaged);
  let value: unknown;
  try {
    value = decoder.decode(bytes);
  } catch (error) {
    throw damaged(error instanceof Error ? error.message : String(error), error);
  }
  if (!isRecord(value)) throw damaged("it is not a map");
  const { type, request_id: id, data: given } = value;
  const data = given ?? {};
  if (typeof id !== "string" || id === "") throw damaged("request_id is missing");
  if (typeof type !== "string") throw damaged("type is missing");
  if (!isRecord(data)) throw damaged("data is not a map");
  return { type, request_id: id, data };
}

const mostElements = 100_000;

/**
 * Walks over the elements without creating them. @throws {FrameError} for a truncated frame or one with too many
 * elements.
 */
function measure(bytes: Uint8Array, damaged: (reason: string) => FrameError): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** The number of elements still to come, at each depth. */
  const open = [1];
  let elements = 0;
  let at = 0;
  const take = (count: number): number => {
    const start = at;
    at += count;
    if (at > bytes.byteLength) throw damaged("it is cut off");
    return start;
  };
  const length = (size: 1 | 2 | 4): number => {
    const start = take(size);
    return size === 1 ? view.getUint8(start) : size === 2 ? view.getUint16(start) : view.getUint32(start);
  };
  while (open.length > 0) {
    const left = open.pop()!;
    if (left === 0) continue;
    open.push(left - 1);
    if (++elements > mostElements) throw damaged("it has too many elements");
    const head = view.getUint8(take(1));
    if (head <= 0x7f || head >= 0xe0) continue;
    if (head <= 0x8f) open.push(2 * (head & 0x0f));
    else if (head <= 0x9f) open.push(head & 0x0f);
    else if (head <= 0xbf) take(head & 0x1f);
    else if (head === 0xc0 || head === 0xc2 || head === 0xc3) continue;
    else if (head === 0xc1) throw damaged("it has an invalid byte");
    else if (head <= 0xc6) take(length(sizes[head - 0xc4]!));
    else if (head <= 0xc9) take(1 + length(sizes[head - 0xc7]!));
    else if (head <= 0xd3) take(scalars[head - 0xca]!);
    else if (head <= 0xd8) take(1 + 2 ** (head - 0xd4));
    else if (head <= 0xdb) take(length(sizes[head - 0xd9]!));
    else if (head <= 0xdd) open.push(length(head === 0xdc ? 2 : 4));
    else open.push(2 * length(head === 0xde ? 2 : 4));
  }
  if (at < bytes.byteLength) throw damaged("more bytes follow it");
}

/** Bytes of the length field of bin, ext and str. */
const sizes = [1, 2, 4] as const;
/** Bytes of float 32 and 64, uint 8 to 64, int 8 to 64. */
const scalars = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8] as const;

const idKey = Buffer.from("\u00aarequest_id", "latin1");

/** The id in an otherwise unreadable frame, so that its sender gets an answer. */
function findRequestId(bytes: Uint8Array): string | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const key = buffer.indexOf(idKey);
  if (key < 0) return null;
  let at = key + idKey.length;
  const head = buffer[at++] ?? 0;
  const length = head === 0xd9 ? (buffer[at++] ?? 0) : head >= 0xa0 && head <= 0xbf ? head & 0x1f : 0;
  const id = buffer.subarray(at, at + length).toString("utf8");
  return length > 0 && id.length === length ? id : null;
}
