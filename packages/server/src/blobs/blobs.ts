import type { Readable } from "node:stream";
import { ImageError } from "mflux-depth/errors";
import { checkDecodable, identifyImage } from "mflux-depth/images";
import type { BlobObject } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { PictureFacts } from "../ledger/files.js";
import type { Ledger } from "../ledger/ledger.js";
import { limits } from "../options/limits.js";
import type { FileStore } from "./file-store.js";
import { pictureMessage } from "./picture-message.js";

/** Bytes with their format. */
export interface StoredPicture {
  readonly bytes: Uint8Array;
  readonly mime: string;
  readonly width: number;
  readonly height: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

/** How large a picture may be. */
export interface BlobLimits {
  readonly bytes: number;
  readonly pixels: number;
}

const usualLimits: BlobLimits = { bytes: limits.pictureBytes, pixels: limits.picturePixels };

/** Uploaded pictures. */
export class Blobs {
  readonly #ledger: Ledger;
  readonly #files: FileStore;

  constructor(ledger: Ledger, files: FileStore) {
    this.#ledger = ledger;
    this.#files = files;
  }

  /**
   * Stores a picture. Nothing is left of one that is refused.
   * @returns `created` false if it was there already.
   * @throws {ServiceError} `unsupported_image`, `image_too_large`, `disk_full`.
   */
  async put(
    picture: Readable | Uint8Array,
    { bytes: limit, pixels }: BlobLimits = usualLimits,
  ): Promise<{ blob: BlobObject; created: boolean }> {
    using file = await this.#files.add(picture, { limit });
    const { sha256, bytes } = file;
    const known = this.#ledger.files.findBlob(sha256);
    try {
      const facts = known ?? { ...(await examine(await this.#files.read(sha256), pixels)), sha256, bytes };
      const created = this.#ledger.write(() => this.#ledger.files.addBlob(facts, Date.now()));
      return { blob: blobObjectOf(facts), created };
    } catch (error) {
      file[Symbol.dispose]();
      this.#files.collect([sha256], (hash) => this.#ledger.files.isNeeded(hash));
      throw error;
    }
  }

  /** @throws {ServiceError} `not_found`. */
  get(id: string): BlobObject {
    return blobObjectOf(this.#find(id));
  }

  /** @throws {ServiceError} `not_found`, `damaged_file`. */
  async open(id: string): Promise<StoredPicture> {
    const { sha256, mime, width, height } = this.#find(id);
    return { sha256, mime, width, height, bytes: await this.#files.read(sha256) };
  }

  #find(id: string): PictureFacts {
    const [, sha256] = /^sha256-([0-9a-f]{64})$/.exec(id) ?? [];
    const blob = sha256 === undefined ? null : this.#ledger.files.findBlob(sha256);
    if (!blob)
      throw new ServiceError(
        "not_found",
        "No picture has this id; unused pictures are deleted after a day. Upload it again.",
      );
    return blob;
  }
}

/** What a picture is, once it has been decoded as a whole. */
async function examine(
  bytes: Uint8Array,
  pixels: number,
): Promise<Pick<PictureFacts, "mime" | "width" | "height">> {
  try {
    const { mime, width, height } = await identifyImage(bytes);
    if (width * height > pixels)
      throw new ServiceError(
        "image_too_large",
        `The picture has ${width} × ${height} pixels; send one of at most ${pixels / 1e6} megapixels.`,
      );
    await checkDecodable(bytes);
    return { mime, width, height };
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    const isTooLarge = error.details.limit !== undefined;
    throw new ServiceError(isTooLarge ? "image_too_large" : "unsupported_image", pictureMessage(error), {
      cause: error,
    });
  }
}

const blobObjectOf = ({ sha256, mime, width, height, bytes }: PictureFacts): BlobObject => ({
  id: `sha256-${sha256}`,
  mime,
  width,
  height,
  bytes,
});
