/*
 * A process that carries out one task on the model cache. Its owner talks to it over the channel that `fork` opens; when
 * the channel closes, the process ends.
 */
import { serializeError } from "../errors.js";
import { identifyModel } from "../families/identify.js";
import { kindFor } from "../families/kinds.js";
import { cachedModels, deleteCached } from "../hub/cached-models.js";
import { obtainRepository } from "../hub/obtain.js";
import { endWithOwner, tellOwner } from "./owner.js";
import type { FromStore, StoreRequest, ToStore } from "./protocol.js";

const controller = new AbortController();

process.on("message", (message: ToStore) => {
  if (message.type === "cancel") controller.abort();
  else
    void answer(message.request)
      .catch((error: unknown): FromStore => ({ type: "error", error: serializeError(error) }))
      .then(tellOwner);
});
endWithOwner();

async function answer(request: StoreRequest): Promise<FromStore> {
  switch (request.type) {
    case "list":
      return { type: "models", models: await cachedModels(identifyModel) };
    case "delete":
      return { type: "deleted", deleted: await deleteCached(request.repository, request) };
    case "download": {
      const { source, purpose, token } = request;
      const { folder } = await obtainRepository(source, {
        kind: kindFor[purpose],
        signal: controller.signal,
        onProgress: (progress) => tellOwner({ type: "progress", progress }),
        ...(token !== undefined && {
          env: { ...process.env, HF_TOKEN: token, HF_HUB_DISABLE_IMPLICIT_TOKEN: "" },
        }),
      });
      return { type: "folder", folder };
    }
  }
}
