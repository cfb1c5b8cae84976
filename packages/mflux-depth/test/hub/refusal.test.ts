import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { assertComplete, full, HubFixture, modelError, repository } from "../support/hub-fixture.js";
import { goodToken, poorToken } from "../support/hub-server.js";

const fixture = new HubFixture();
const withToken = (token: string): { env: NodeJS.ProcessEnv } => ({
  env: { ...fixture.environment, HF_TOKEN: token },
});

describe("a gated repository", () => {
  beforeEach(() => fixture.hub.host(repository, full, { gated: true }));

  test("is refused with the page of its terms and how to give a token", async () => {
    await assert.rejects(fixture.obtain(), (error: Error) => {
      assert.ok(error.message.includes(`${fixture.hub.endpoint}/${repository}`));
      return modelError(
        /gated: accept the terms at .*create a token at .*settings\/tokens.*HF_TOKEN.*hf auth login/,
      )(error);
    });
    assert.deepEqual(fixture.hub.resolved(), ["transformer/config.json"]);
  });

  test("is refused to an account that has not accepted its terms", async () => {
    await assert.rejects(
      fixture.obtain({}, withToken(poorToken)),
      modelError(/account of the token from HF_TOKEN has not been granted access: accept the terms at/),
    );
  });

  test("is downloaded by an account with access", async () => {
    assertComplete(await fixture.obtain({}, withToken(goodToken)));
  });
});

describe("a private repository", () => {
  beforeEach(() => fixture.hub.host(repository, full, { private: true }));

  test("is refused like a missing one, with how to give a token", async () => {
    await assert.rejects(
      fixture.obtain(),
      modelError(/no such repository at .*or it is private.*create a token/),
    );
  });

  test("is refused to another account without asking for a token", async () => {
    await assert.rejects(
      fixture.obtain({}, withToken(poorToken)),
      modelError(/no such repository.*check the name$/),
    );
  });

  test("is downloaded by its owner", async () => {
    assertComplete(await fixture.obtain({}, withToken(goodToken)));
  });
});

describe("the Hub's refusal", () => {
  test("of a token names the token's source", async () => {
    fixture.hub.host(repository, full, { private: true });
    await assert.rejects(
      fixture.obtain({}, withToken("hf_old")),
      modelError(/does not accept the token from HF_TOKEN/),
    );
  });

  test("of a revision names the revision", async () => {
    fixture.hub.host(repository, full);
    await assert.rejects(fixture.obtain({ revision: "v9" }), modelError(/no revision v9/));
  });

  test("for other reasons quotes the Hub", async () => {
    fixture.hub.host(repository, full);
    fixture.hub.fault = (_, response) => {
      response.writeHead(403, { "x-error-message": "Access to this resource is disabled." }).end();
      return true;
    };
    await assert.rejects(
      fixture.obtain(),
      modelError(/refuses access \(Access to this resource is disabled\.\)/),
    );
  });
});
