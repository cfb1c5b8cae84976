/*
 * The description of the interface, made from the routes' schemas.
 */
import swagger = require("@fastify/swagger");

import type { FastifyInstance } from "fastify";
import { serverVersion } from "../version.js";
import { components, idParams } from "./components.js";

type Schema = Readonly<Record<string, unknown>>;

declare module "fastify" {
  interface FastifyContextConfig {
    /** The body as clients may send it, if one schema cannot express that. */
    documentedBody?: Schema;
  }
}

const binary = (mime: string): Schema => ({ type: "string", contentMediaType: mime });

/** A body in JSON, or as a form with the same object as a part and the pictures as files. */
export const documentedForm = (part: string, schema: Schema, pictures: readonly string[]): Schema => ({
  content: {
    "application/json": { schema },
    "multipart/form-data": {
      schema: {
        type: "object",
        properties: {
          [part]: { ...schema, description: "The body in JSON, without the pictures that are parts." },
          ...Object.fromEntries(pictures.map((name) => [name, binary("image/*")])),
        },
        required: [part],
      },
    },
  },
});

/** A body that is a picture; with a name, also as that part of a form. */
export const documentedPicture = (part?: string): Schema => ({
  content: {
    "image/*": { schema: binary("image/*") },
    "application/octet-stream": { schema: binary("image/*") },
    ...(part && {
      "multipart/form-data": {
        schema: { type: "object", properties: { [part]: binary("image/*") }, required: [part] },
      },
    }),
  },
});

/** Collects the schemas of all routes that are registered afterwards. */
export async function describeRoutes(app: FastifyInstance): Promise<void> {
  for (const [name, schema] of Object.entries(components)) app.addSchema({ $id: name, ...schema });
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "mflux-depth",
        version: serverVersion,
        description: "Depth-guided image generation with FLUX.1 Depth. Jobs survive restarts.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      components: {
        securitySchemes: { token: { type: "http", scheme: "bearer" } },
      },
      security: [{ token: [] }, {}],
    },
    refResolver: {
      buildLocalReference: ({ $id }, _base, _fragment, i) => (typeof $id === "string" ? $id : `def-${i}`),
    },
    hideUntagged: true,
    transform: ({ schema, url, route }) => {
      const { documentedBody } = route.config ?? {};
      const documented = {
        ...schema,
        ...(documentedBody && { body: documentedBody }),
        ...(url.includes("*") && { params: idParams }),
      };
      return { schema: documented, url: url.replace("*", ":id") };
    },
  });
}
