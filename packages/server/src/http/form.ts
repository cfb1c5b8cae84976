/*
 * Reads multipart forms: pictures as files, everything else as text.
 */
import type { MultipartFile } from "@fastify/multipart";
import type { FastifyRequest } from "fastify";
import type { JobService } from "../jobs/service.js";
import { limits } from "../options/limits.js";
import { HttpError, invalidValue } from "./error.js";
import { asPictureOf, lendPicture } from "./pictures.js";

/** The texts of a form, and the ids of its stored pictures. */
export interface Form {
  readonly texts: ReadonlyMap<string, string>;
  readonly pictures: ReadonlyMap<string, string>;
}

/** The maximum size of a form's texts, pictures excluded. */
const maxTextBytes = limits.jsonBytes;

const partLimits = {
  fileSize: limits.pictureBytes,
  files: limits.fileParts + 1,
  fields: 100,
  fieldSize: maxTextBytes,
  fieldNameSize: 100,
  headerPairs: 20,
};

/**
 * Whether a part is read as bytes. Clients may send JSON and pictures with a content type but no file name. As a field,
 * JSON would be parsed before its size is checked, and a picture would be decoded as text.
 */
const isPartAFile = (
  _name: string | undefined,
  type: string | undefined,
  fileName: string | undefined,
): boolean => fileName !== undefined || (type !== undefined && type !== "text/plain");

/**
 * Reads a form to its end and stores its pictures.
 * @param isPicture whether a part of this name is a picture; other files are read as text.
 * @throws {HttpError} 400 for a damaged form or a repeated part, 413 for a part that is too large, and what storing a
 * picture throws.
 */
export async function readForm(
  request: FastifyRequest,
  service: JobService,
  isPicture: (name: string) => boolean,
): Promise<Form> {
  const texts = new Map<string, string>();
  const pictures = new Map<string, string>();
  let files = 0;
  let textBytes = 0;
  const addText = (name: string, text: string): void => {
    textBytes += text.length;
    if (textBytes > maxTextBytes)
      throw new HttpError(413, "too_large", "The form has too much text.", { param: name });
    texts.set(name, text);
  };
  try {
    for await (const part of request.parts({ limits: partLimits, isPartAFile })) {
      const name = part.fieldname;
      if (texts.has(name) || pictures.has(name))
        throw invalidValue(name, `The form has the part ${name} twice.`);
      if (part.type === "field") {
        if (part.valueTruncated)
          throw new HttpError(413, "too_large", `The part ${name} is too large.`, { param: name });
        addText(name, String(part.value));
      } else if (!isPicture(name)) {
        addText(name, (await part.toBuffer()).toString("utf8"));
      } else {
        files++;
        if (files > limits.fileParts)
          throw new HttpError(413, "too_many_parts", `A form has at most ${limits.fileParts} files.`);
        pictures.set(name, await store(part, request, service));
      }
    }
  } catch (error) {
    // Stop reading the rest of the form.
    request.raw.unpipe();
    request.raw.resume();
    throw refusalOfForm(error);
  }
  return { texts, pictures };
}

/** Stores the picture of a part. @returns its id. */
async function store(part: MultipartFile, request: FastifyRequest, service: JobService): Promise<string> {
  try {
    return await lendPicture(request, part.file, service);
  } catch (error) {
    throw asPictureOf(part.fieldname, error);
  }
}

function refusalOfForm(error: unknown): unknown {
  switch ((error as { code?: unknown }).code) {
    case "FST_REQ_FILE_TOO_LARGE":
      return new HttpError(413, "too_large", "A file of the form is too large.", { cause: error });
    case "FST_FILES_LIMIT":
    case "FST_PARTS_LIMIT":
    case "FST_FIELDS_LIMIT":
      return new HttpError(413, "too_many_parts", `A form has at most ${limits.fileParts} files.`, {
        cause: error,
      });
  }
  // An error of the parser itself: errors of the file system have a code.
  if (error instanceof Error && error.name === "Error" && !("code" in error))
    return new HttpError(400, "malformed_form", "The form is damaged or incomplete.", { cause: error });
  return error;
}
