/**
 * What every failure of MLX and of this binding becomes: which operation failed, and why, with the shapes and
 * dtypes of its operands in the message.
 */
export class MlxError extends Error {
  override readonly name: string = "MlxError";

  constructor(
    /** The operation that failed, as it is called in this library: "matmul", "evaluate". */
    readonly operation: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${operation}: ${reason}`, options);
  }
}
