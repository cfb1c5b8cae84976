/*
 * The answers that refuse a request. Every one is an error object with a stable code.
 */
import type { ErrorObject, ErrorType } from "../contract/index.js";

/** Optional facts about a refusal. */
export interface RefusalFacts extends ErrorOptions {
  /** The path of the field in the body, or the query parameter. */
  readonly param?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that is answered with an error. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;
  readonly code: string;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    { param = null, headers = {}, ...options }: RefusalFacts = {},
  ) {
    super(message, options);
    this.status = status;
    this.code = code;
    this.param = param;
    this.headers = headers;
  }
}

const types: Readonly<Record<number, ErrorType>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  409: "conflict_error",
  429: "rate_limit_error",
};

/** The body of an answer with this error. */
export const errorBody = ({ status, code, message, param }: HttpError): { readonly error: ErrorObject } => ({
  error: {
    message,
    type: types[status] ?? (status < 500 ? "invalid_request_error" : "server_error"),
    param,
    code,
  },
});

/** The headers of an answer with this error: among others, whether the same request may succeed later. */
export function errorHeaders({ status, headers }: HttpError): Record<string, string> {
  const repeatable = status >= 500 || status === 408 || status === 429;
  return { ...(!repeatable && { "x-should-retry": "false" }), ...headers };
}

/** The refusal of an invalid value of a field or parameter. */
export const invalidValue = (param: string, message: string, facts: RefusalFacts = {}): HttpError =>
  new HttpError(400, "invalid_value", message, { param, ...facts });

export const notFound = (message: string): HttpError => new HttpError(404, "not_found", message);
