/* Certificates of an authority that is not publicly trusted. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Files in PEM. */
export interface Certificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes an authority, and a certificate of it for this machine. Needs `openssl`. */
export function makeCertificates(folder: string): Certificates {
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: readonly string[]): void =>
    void execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    ...["req", "-x509", ...key, "-days", "2", "-subj", "/CN=an authority of a test"],
    ...["-keyout", file("ca.key"), "-out", file("ca.pem")],
  );
  openssl(
    ...["req", ...key, "-subj", "/CN=localhost", "-keyout", file("here.key"), "-out", file("here.csr")],
  );
  writeFileSync(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1");
  openssl(
    ...["x509", "-req", "-in", file("here.csr"), "-days", "2", "-extfile", file("names"), "-CAcreateserial"],
    ...["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-out", file("here.pem")],
  );
  return { authority: file("ca.pem"), certificate: file("here.pem"), key: file("here.key") };
}

/** The key and certificate in the form that Node's servers take. */
export const keyPairOf = ({ certificate, key }: Certificates): { cert: Buffer; key: Buffer } => ({
  cert: readFileSync(certificate),
  key: readFileSync(key),
});
