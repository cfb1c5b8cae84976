import type { FastifyInstance, FastifyRequest } from "fastify";
import { depthOptions, type OptionSpec } from "mflux-depth/options";
import { limits } from "../../options/limits.js";
import { whileConnected } from "../client.js";
import { answers, file, query } from "../components.js";
import type { Context } from "../context.js";
import { invalidValue } from "../error.js";
import { readForm } from "../form.js";
import { documentedPicture } from "../openapi.js";
import { type MapFormat, mapFormats, sendArray, sendMap } from "../picture-answer.js";
import { lendPicture } from "../pictures.js";
import { acceptAnyBody, pictureBody, refusePicture } from "../raw-body.js";

interface DepthQuery {
  format: MapFormat;
  near?: number;
  far?: number;
  gamma?: number;
  invert?: boolean;
  raw?: boolean;
}

export function depthRoutes(app: FastifyInstance, { service }: Context): void {
  app.register(async (scope) => {
    acceptAnyBody(scope, ["multipart/form-data"]);
    scope.post<{ Querystring: DepthQuery }>(
      "/v1/depth",
      {
        bodyLimit: limits.pictureBytes,
        config: { documentedBody: documentedPicture("image") },
        schema: {
          tags: ["Depth"],
          summary: "Estimate the depth of a photo at once, without a job",
          operationId: "estimateDepth",
          querystring: query({
            format: { type: "string", enum: mapFormats, default: "png" },
            near: parameter(depthOptions.near),
            far: parameter(depthOptions.far),
            gamma: parameter(depthOptions.gamma),
            invert: { type: "boolean", description: depthOptions.invert.text },
            raw: { type: "boolean", description: "The estimator's own values, as npy." },
          }),
          response: answers({ 200: file("The map", "image/png", "application/octet-stream") }),
        },
      },
      async (request, reply) => {
        const { format, raw = false, ...adjustments } = request.query;
        if (raw && format !== "npy")
          throw invalidValue("raw", "raw gives the estimator's own values, which need format=npy.");
        const connected = whileConnected(reply);
        const { map, inverse } = await service.atOnce.depth(await photoOf(request), adjustments, connected);
        return raw ? sendArray(reply, inverse) : sendMap(reply, map, format);
      },
    );
  });

  /** The photo of a body or form. It passes through the picture store, which checks it. */
  async function photoOf(request: FastifyRequest): Promise<Uint8Array> {
    if (!request.isMultipart())
      return open(await lendPicture(request, pictureBody(request), service).catch(refusePicture(request)));
    const { texts, pictures } = await readForm(request, service, (name) => name === "image");
    const [unknown] = texts.keys();
    if (unknown !== undefined)
      throw invalidValue(unknown, `The form has a part ${unknown}; it takes image (a file).`);
    const id = pictures.get("image");
    if (id === undefined) throw invalidValue("image", "The form has no part image.");
    return open(id);
  }

  const open = async (id: string): Promise<Uint8Array> => (await service.blobs.open(id)).bytes;
}

/** A number of the options table as a query parameter. */
function parameter({ kind, text, default: fallback }: OptionSpec): Record<string, unknown> {
  if (kind.type !== "number") throw new TypeError(`${text} is not a number`);
  return { type: "number", minimum: kind.min, maximum: kind.max, default: fallback, description: text };
}
