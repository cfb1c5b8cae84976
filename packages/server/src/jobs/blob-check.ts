import { ServiceError } from "../errors.js";
import type { Ledger } from "../ledger/ledger.js";
import type { ResolvedBody } from "../requests/resolve.js";

/** @throws {ServiceError} `invalid_image` if a picture is missing. */
export function requireBlobs(blobs: ResolvedBody["blobs"], { files }: Ledger): void {
  for (const { sha256, param } of blobs)
    if (!files.findBlob(sha256))
      throw new ServiceError(
        "invalid_image",
        `No picture has the id sha256-${sha256}; unused pictures are deleted after a day. Upload it again.`,
        { param },
      );
}
