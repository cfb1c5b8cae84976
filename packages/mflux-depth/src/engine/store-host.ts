/*
 * A process that carries out one task on the model cache. Its owner talks to it over the channel that `fork` opens; when
 * the channel closes, the process ends.
 */
import { serializeError } from "../errors.js";
import { kindFor } from "../families/kinds.js";
import { cachedModels, deleteCached } from "../hub/cached-models.js";
import { obtainRepository } from "../hub/obtain.js";
import { kindOf, type NeededModel } from "./needed-model.js";
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
    case "list": {
      // Only this task needs MLX's package.
      const { identifyModel } = await import("../families/identify.js");
      return { type: "models", models: await cachedModels(identifyModel) };
    }
    case "delete":
      return { type: "deleted", deleted: await deleteCached(request.repository, request) };
    case "download": {
      const { source, token } = request;
      const { folder } = await obtainRepository(source, {
        kind: (await isBase(request)) ? kindFor.base : kindOf(request),
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

/** Whether a model is the base model of one of the job's LoRAs, which have already been downloaded. */
async function isBase({ purpose, loras = [] }: NeededModel): Promise<boolean> {
  if (purpose !== "generation" || loras.length === 0) return false;
  // Reads the headers of LoRAs with MLX's package.
  const { controlFamilyAmong } = await import("../pipeline/model/model.js");
  const options = { loras, offline: true };
  return (await controlFamilyAmong(options, { signal: controller.signal })) !== null;
}
