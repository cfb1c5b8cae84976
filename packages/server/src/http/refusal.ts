/*
 * Turns anything that a handler throws into the error to answer with.
 */
import { ImageError, MemoryError, MfluxDepthError, OptionError } from "mflux-depth/errors";
import { toJsonName } from "mflux-depth/options";
import { ServiceError, type ServiceErrorCode } from "../errors.js";
import { loadTable, requestTables } from "../options/tables.js";
import { HttpError } from "./error.js";

const statuses: Readonly<Record<ServiceErrorCode, number>> = {
  not_found: 404,
  forbidden: 403,
  conflict: 409,
  job_not_finished: 409,
  no_image: 404,
  idempotency_mismatch: 422,
  queue_full: 429,
  disk_full: 507,
  model_not_found: 404,
  model_unusable: 503,
  invalid_image: 400,
  unsupported_image: 415,
  image_too_large: 413,
  invalid_cursor: 400,
  invalid_value: 400,
  out_of_range: 400,
  missing: 400,
  unknown_field: 400,
  option_conflict: 400,
  insufficient_memory: 503,
  engine_crashed: 503,
  engine_failed: 500,
  unavailable: 503,
  damaged_file: 500,
  internal_error: 500,
};

/** The status for the code of a failed job's error. */
export const statusOf = (code: string): number =>
  Object.hasOwn(statuses, code) ? statuses[code as ServiceErrorCode] : 500;

/** The codes of Fastify's own refusals, by status. */
const codes: Readonly<Record<number, string>> = {
  400: "invalid_request",
  404: "not_found",
  408: "timeout",
  413: "too_large",
  414: "too_long",
  415: "unsupported_media_type",
  429: "rate_limited",
  431: "too_large",
};

/** The error to answer with. Unexpected errors become a 500 without internal details. */
export function refusalFor(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof ServiceError) return fromService(error);
  if (error instanceof OptionError) return fromOption(error);
  if (error instanceof ImageError)
    return new HttpError(400, "invalid_image", error.message, { cause: error });
  if (error instanceof MemoryError)
    return new HttpError(503, "insufficient_memory", error.message, { cause: error });
  if (error instanceof Error) {
    const { statusCode, code } = error as { statusCode?: number; code?: string };
    if (
      statusCode !== undefined &&
      statusCode >= 400 &&
      statusCode < 500 &&
      !(error instanceof MfluxDepthError)
    )
      return new HttpError(statusCode, codes[statusCode] ?? "invalid_request", messageOf(error, code), {
        cause: error,
      });
  }
  return new HttpError(
    500,
    "internal_error",
    "Something went wrong in the server; its log has the details.",
    { cause: error },
  );
}

function fromService(error: ServiceError): HttpError {
  const { code, message, param, retryAfterSeconds } = error;
  const status = statuses[code];
  const seconds = retryAfterSeconds ?? (status === 429 ? 1 : null);
  return new HttpError(status, code, message, {
    param,
    cause: error,
    headers: seconds === null ? {} : { "retry-after": `${Math.ceil(seconds)}` },
  });
}

const optionCodes: Readonly<Record<string, string>> = {
  "option-out-of-range": "out_of_range",
  "option-missing": "missing",
  "option-unknown": "unknown_field",
  "option-conflict": "option_conflict",
};

function fromOption({ option, code, message }: OptionError): HttpError {
  const isRequest = Object.values(requestTables).some((table) => Object.hasOwn(table, option));
  const part = isRequest ? "request." : Object.hasOwn(loadTable, option) ? "load." : "";
  return new HttpError(
    400,
    optionCodes[code] ?? "invalid_value",
    message.replaceAll(option, toJsonName(option)),
    {
      param: `${part}${toJsonName(option)}`,
    },
  );
}

/** Fastify's messages name its functions and settings; ours say what the client can do. */
function messageOf(error: Error, code: string | undefined): string {
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return "The body is larger than this route accepts.";
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return "This route does not accept a body of this Content-Type.";
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
      return "The body is empty; send JSON.";
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return "The body is not as long as Content-Length says.";
    case "FST_ERR_BAD_URL":
      return "The path cannot be decoded.";
    default:
      return error.message;
  }
}
