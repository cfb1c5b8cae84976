import type { Readable } from "node:stream";
import { ImageError } from "mflux-depth/errors";
import { checkDecodable, identifyImage } from "mflux-depth/images";
import type { BlobObject } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { PictureFacts } from "../ledger/files.js";
import type { Ledger } from "../ledger/ledger.js";
import { blobIdOf, hashOfBlob } from "../options/blob-id.js";
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

/** A picture that stays until its holder disposes it; longer only if a job uses it or a client uploads it. */
export interface LentPicture extends Disposable {
  readonly blob: BlobObject;
}

/** Pictures sent by clients. */
export class Blobs {
  readonly #ledger: Ledger;
  readonly #files: FileStore;
  /** The holders of each lent picture, by its hash. */
  readonly #lent = new Map<string, Set<LentPicture>>();

  constructor(ledger: Ledger, files: FileStore) {
    this.#ledger = ledger;
    this.#files = files;
  }

  /** The hashes of all pictures that are held. */
  get lent(): readonly string[] {
    return [...this.#lent.keys()];
  }

  /**
   * Stores an uploaded picture. A refused picture leaves nothing behind.
   * @returns `created` is false if it was stored already.
   * @throws {ServiceError} `unsupported_image`, `image_too_large`, `disk_full`.
   */
  async put(
    picture: Readable | Uint8Array,
    blobLimits: BlobLimits = usualLimits,
  ): Promise<{ readonly blob: BlobObject; readonly created: boolean }> {
    const { facts, created } = await this.#store(picture, blobLimits, (one) =>
      this.#ledger.files.addBlob(one, Date.now()),
    );
    return { blob: blobObjectOf(facts), created };
  }

  /**
   * Stores a picture that came inside a request, for as long as the request needs it.
   * @throws as {@link put}.
   */
  async lend(picture: Readable | Uint8Array, blobLimits: BlobLimits = usualLimits): Promise<LentPicture> {
    let lent!: LentPicture;
    await this.#store(picture, blobLimits, (facts) => {
      const { sha256 } = facts;
      // In the same turn as the record, so that upkeep never finds it without a holder.
      lent ??= { blob: blobObjectOf(facts), [Symbol.dispose]: () => this.#giveBack(sha256, lent) };
      this.#lent.set(sha256, (this.#lent.get(sha256) ?? new Set()).add(lent));
      return this.#ledger.files.addBlob(facts, 0);
    });
    return lent;
  }

  #giveBack(sha256: string, lent: LentPicture): void {
    const holders = this.#lent.get(sha256);
    if (!holders?.delete(lent) || holders.size > 0) return;
    this.#lent.delete(sha256);
    if (this.#ledger.write(() => this.#ledger.files.forgetLent(sha256))) this.#collect(sha256);
  }

  async #store(
    picture: Readable | Uint8Array,
    { bytes: limit, pixels }: BlobLimits,
    record: (facts: PictureFacts) => boolean,
  ): Promise<{ readonly facts: PictureFacts; readonly created: boolean }> {
    using file = await this.#files.add(picture, { limit });
    const { sha256, bytes } = file;
    const known = this.#ledger.files.findBlob(sha256);
    try {
      const facts = known ?? { ...(await examine(await this.#files.read(sha256), pixels)), sha256, bytes };
      return { facts, created: this.#ledger.write(() => record(facts)) };
    } catch (error) {
      file[Symbol.dispose]();
      this.#collect(sha256);
      throw error;
    }
  }

  /** Deletes a stored file that is not needed. */
  #collect(sha256: string): void {
    this.#files.collect([sha256], (hash) => this.#ledger.files.isNeeded(hash));
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
    const sha256 = hashOfBlob(id);
    const blob = sha256 === undefined ? null : this.#ledger.files.findBlob(sha256);
    if (!blob)
      throw new ServiceError(
        "not_found",
        "No picture has this id; unused pictures are deleted after a day. Upload it again.",
      );
    return blob;
  }
}

/** The facts about a picture, once all of it has been decoded. */
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
    throw new ServiceError(
      isTooLarge ? "image_too_large" : "unsupported_image",
      pictureMessage(error, "the picture"),
      {
        cause: error,
      },
    );
  }
}

const blobObjectOf = ({ sha256, mime, width, height, bytes }: PictureFacts): BlobObject => ({
  id: blobIdOf(sha256),
  mime,
  width,
  height,
  bytes,
});
