import type { FastifyInstance } from "fastify";
import { decodeMap } from "mflux-depth/images";
import { limits } from "../../options/limits.js";
import { answers, empty, file, idParams, json, query } from "../components.js";
import type { Context } from "../context.js";
import { documentedPicture } from "../openapi.js";
import { isUnchanged, sendArray } from "../picture-answer.js";

import { acceptAnyBody, pictureBody, refusePicture } from "../raw-body.js";

const tags = ["Pictures"];
const byteLimits = { bytes: limits.pictureBytes, pixels: limits.picturePixels };

interface Id {
  Params: { id: string };
}

export function blobRoutes(app: FastifyInstance, { service }: Context): void {
  app.register(async (scope) => {
    acceptAnyBody(scope);
    scope.post(
      "/v1/blobs",
      {
        bodyLimit: limits.pictureBytes,
        config: { documentedBody: documentedPicture() },
        schema: {
          tags,
          summary: "Upload a picture",
          operationId: "createBlob",
          querystring: query(),
          response: answers({ 200: json("It was there already", "Blob"), 201: json("The picture", "Blob") }),
        },
      },
      async (request, reply) => {
        const { blob, created } = await service.blobs
          .put(pictureBody(request), byteLimits)
          .catch(refusePicture(request));
        return reply
          .code(created ? 201 : 200)
          .header("location", `/v1/blobs/${blob.id}`)
          .send(blob);
      },
    );
  });

  app.get<Id>(
    "/v1/blobs/:id",
    {
      schema: {
        tags,
        summary: "An uploaded picture, as it was sent",
        operationId: "getBlob",
        params: idParams,
        querystring: query(),
        response: answers({ 200: file("The picture", "image/*"), 304: empty("Unchanged") }),
      },
    },
    async (request, reply) => {
      const { id } = service.blobs.get(request.params.id);
      const picture = isUnchanged(reply, id) ? null : await service.blobs.open(id);
      // Set this last, so that browsers keep no error.
      reply.header("cache-control", "private, max-age=31536000, immutable");
      if (!picture) return reply.code(304).send();
      const { bytes, mime } = picture;
      return reply.type(mime).send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    },
  );

  app.get<Id>(
    "/v1/blobs/:id/map",
    {
      schema: {
        tags,
        summary: "The luminance of an uploaded picture, as float32 in NumPy's format",
        operationId: "getBlobMap",
        params: idParams,
        querystring: query(),
        response: answers({ 200: file("[height, width], 0 to 1", "application/octet-stream") }),
      },
    },
    async (request, reply) => {
      const { bytes } = await service.blobs.open(request.params.id);
      return sendArray(reply, await decodeMap(bytes));
    },
  );
}
