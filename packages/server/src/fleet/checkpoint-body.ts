/*
 * A checkpoint as the body of a request: a line of JSON, the latents, and the depth map if there is one, in the byte order
 * of the machines we run on.
 */
import type { Checkpoint } from "../work/checkpoints.js";

interface Head extends Pick<Checkpoint, "step" | "fingerprint"> {
  readonly shape: Checkpoint["latents"]["shape"];
  readonly depth: { readonly width: number; readonly height: number } | null;
}

const floatBytes = Float32Array.BYTES_PER_ELEMENT;

export function bodyOfCheckpoint({ step, fingerprint, latents, depthMap }: Checkpoint): Uint8Array {
  const depth = depthMap && { width: depthMap.width, height: depthMap.height };
  const head: Head = { step, fingerprint, shape: latents.shape, depth };
  return Buffer.concat([
    Buffer.from(`${JSON.stringify(head)}\n`),
    bytesOf(latents.data),
    ...(depthMap ? [bytesOf(depthMap.data)] : []),
  ]);
}

/** @throws {RangeError} unless the body is a complete checkpoint. */
export function checkpointOfBody(body: Uint8Array): Checkpoint {
  const end = body.indexOf(10);
  const { shape, depth, ...facts } = headOf(Buffer.from(body.subarray(0, Math.max(end, 0))).toString());
  const latentBytes = shape.reduce((product, size) => product * size, floatBytes);
  const depthBytes = depth ? depth.width * depth.height * floatBytes : 0;
  const content = body.subarray(end + 1);
  if (content.byteLength !== latentBytes + depthBytes) throw new RangeError("The checkpoint is not whole.");
  return {
    ...facts,
    latents: { shape, data: floatsOf(content.subarray(0, latentBytes)) },
    depthMap: depth && { ...depth, data: floatsOf(content.subarray(latentBytes)) },
  };
}

function headOf(text: string): Head {
  try {
    const head = JSON.parse(text) as Head;
    if (Number.isInteger(head.step) && Array.isArray(head.shape) && head.shape.length === 4) return head;
  } catch {
    // Refused below.
  }
  throw new RangeError("The checkpoint has no head.");
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Copied to be aligned for floats. */
const floatsOf = (bytes: Uint8Array): Float32Array => new Float32Array(Uint8Array.from(bytes).buffer);
