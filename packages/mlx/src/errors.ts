/**
 * A failure of MLX or of this binding. The message names the operation, the reason, and the shapes and dtypes of the
 * operands. If an environment variable is to blame, it names the variable instead of the operation that first read it.
 */
export class MlxError extends Error {
  override readonly name: string = "MlxError";

  constructor(
    /**
     * The name of the failed operation in this library ("matmul", "evaluate"), or of an invalid environment variable.
     */
    readonly operation: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(reason.startsWith("MFLUX_DEPTH_") ? reason : `${operation}: ${reason}`, options);
  }
}
