import {
  type ErrorCode,
  ImageError,
  MemoryError,
  MfluxDepthError,
  ModelError,
  OptionError,
} from "mflux-depth/errors";
import { toJsonName } from "mflux-depth/options";
import { pictureMessage } from "../blobs/picture-message.js";
import type { ErrorObject } from "../contract/index.js";
import { isDiskFull } from "../data-folder/durable-file.js";
import { diskFull } from "../data-folder/reserve.js";
import { ServiceError, type ServiceErrorCode } from "../errors.js";
import { forClients } from "./messages.js";

const optionCodes: Partial<Record<ErrorCode, ServiceErrorCode>> = {
  "option-invalid": "invalid_value",
  "option-out-of-range": "out_of_range",
  "option-missing": "missing",
  "option-unknown": "unknown_field",
  "option-conflict": "option_conflict",
};

/**
 * Converts an error of the library for clients: with the JSON names of options, and without paths.
 * @param part the part of the body with the options; null for query parameters.
 */
export function serviceErrorOf(error: unknown, part: "request" | "load" | null = "request"): ServiceError {
  if (error instanceof ServiceError) return error;
  const refuse = (code: ServiceErrorCode, message: string, param: string | null = null): ServiceError =>
    new ServiceError(code, forClients(message), { cause: error, param });
  if (error instanceof OptionError)
    return refuse(
      optionCodes[error.code] ?? "invalid_value",
      error.message,
      [part, toJsonName(error.option)].filter((name) => name !== null).join("."),
    );
  if (error instanceof ImageError) return refuse("invalid_image", pictureMessage(error));
  if (error instanceof ModelError)
    return refuse(
      error.code === "model-not-found" ? "model_not_found" : "model_unusable",
      error.message,
      `load.${toJsonName(error.option)}`,
    );
  if (error instanceof MemoryError) return refuse("insufficient_memory", error.message);
  if (isDiskFull(error)) return diskFull(error);
  if (error instanceof MfluxDepthError) return refuse("engine_failed", error.message);
  return refuse("internal_error", "Something went wrong in the server; its log has the details.");
}

/** The error of a failed job. */
export function errorObjectOf(error: unknown): ErrorObject {
  const { code, message, param } = serviceErrorOf(error);
  return { message, type: isOfRequest(code) ? "invalid_request_error" : "server_error", param, code };
}

const requestCodes: readonly ServiceErrorCode[] = [
  "invalid_value",
  "out_of_range",
  "missing",
  "unknown_field",
  "option_conflict",
  "invalid_image",
  "insufficient_memory",
];

const isOfRequest = (code: ServiceErrorCode): boolean => requestCodes.includes(code);
