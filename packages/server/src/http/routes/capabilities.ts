import { totalmem } from "node:os";
import type { FastifyInstance } from "fastify";
import type { CapabilitiesObject } from "../../contract/index.js";
import { limits } from "../../options/limits.js";
import { loadSchema, requestSchemas } from "../../options/schemas.js";
import { serverVersion } from "../../version.js";
import { answers, json, query } from "../components.js";
import type { Context } from "../context.js";

export function capabilityRoutes(app: FastifyInstance, { service, maxQueue }: Context): void {
  app.get(
    "/v1/capabilities",
    {
      schema: {
        tags: ["Server"],
        summary:
          "What this server can do: options with ranges and defaults, depth estimators, limits, memory",
        operationId: "getCapabilities",
        querystring: query(),
        response: answers({ 200: json("The capabilities", "Capabilities") }),
      },
    },
    async (): Promise<CapabilitiesObject> => ({
      version: serverVersion,
      kinds: requestSchemas,
      load: loadSchema,
      defaults: service.catalogue.defaultLoad(),
      estimators: await service.catalogue.estimators(),
      device: service.workers.list()[0]?.device ?? "none",
      memory: memory(),
      limits: {
        picture_bytes: limits.pictureBytes,
        picture_pixels: limits.picturePixels,
        prompt_characters: limits.promptCharacters,
        json_bytes: limits.jsonBytes,
        file_parts: limits.fileParts,
        queued_jobs: maxQueue,
      },
    }),
  );
}

/** The memory that this process and its engine may use, control groups included. */
function memory(): CapabilitiesObject["memory"] {
  const limit = process.constrainedMemory();
  const total = totalmem();
  return {
    total_bytes: limit > 0 && limit < total ? limit : total,
    available_bytes: process.availableMemory(),
  };
}
