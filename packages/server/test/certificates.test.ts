import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateProblem } from "../src/certificates.js";

const problem = (code: string): string | null =>
  certificateProblem(Object.assign(new Error("certificate has expired"), { code }));

test("an untrusted, foreign or expired certificate is named as such, and other errors are not", () => {
  assert.match(problem("SELF_SIGNED_CERT_IN_CHAIN")!, /not trusted.*NODE_EXTRA_CA_CERTS/);
  assert.match(problem("ERR_TLS_CERT_ALTNAME_INVALID")!, /different host name/);
  assert.match(problem("CERT_HAS_EXPIRED")!, /certificate has expired.*renew/);
  assert.equal(problem("ECONNREFUSED"), null);
  assert.equal(certificateProblem(new Error("socket hang up")), null);
});
