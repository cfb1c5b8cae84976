/** The error codes of an untrusted certificate; Node uses those of OpenSSL. */
const untrusted: readonly string[] = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];

/** Describes a problem with the other side's certificate and its remedy; null for any other error. */
export function certificateProblem({ code = "", message }: NodeJS.ErrnoException): string | null {
  if (untrusted.includes(code))
    return `its certificate is not trusted, ${code}; start this process with NODE_EXTRA_CA_CERTS=FILE, a file with the certificate of its authority`;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return `its certificate is for a different host name, ${code}; use the name in the certificate`;
  if (code.startsWith("CERT_")) return `its certificate is not valid: ${message}, ${code}; renew it`;
  return null;
}
