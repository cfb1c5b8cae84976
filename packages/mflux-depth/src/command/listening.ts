import { OptionError } from "../errors.js";

/** The error of a service that cannot listen at the address given by its flags. */
export const listenError = (
  error: NodeJS.ErrnoException,
  { host, port }: { readonly host: string; readonly port: number },
): OptionError =>
  new OptionError(
    "--port",
    error.code === "EADDRINUSE"
      ? `Port ${port} of ${host} is in use; choose another with --port.`
      : `Cannot listen on ${host}, port ${port} (${error.code ?? error.message}).`,
    { cause: error },
  );
