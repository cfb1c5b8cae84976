import { modelHere } from "mflux-depth/engine";
import type { ModelObject } from "../contract/index.js";
import { type AllowedModel, bundledModel } from "../requests/models.js";

/**
 * A model as `GET /v1/models` lists it.
 * @param env Hugging Face's variables.
 */
export async function modelObjectOf(
  { name, folder }: AllowedModel,
  { loaded, env }: { readonly loaded: string | null; readonly env: NodeJS.ProcessEnv | undefined },
): Promise<ModelObject> {
  const { ready, bytes } = await modelHere(folder ?? name, env);
  return {
    id: name,
    object: "model",
    // OpenAI's clients expect a time; nobody knows that of a folder's training.
    created: 0,
    owned_by: folder === undefined && name !== bundledModel ? name.split("/")[0]! : "local",
    ready,
    bytes,
    loaded: name === loaded,
  };
}
