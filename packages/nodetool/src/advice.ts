/*
 * Errors and warnings of the library in the node's terms: properties for options, NodeTool's model manager for
 * downloads. Remedies that concern an option the node does not offer are left out.
 */
import { ImageError, MemoryError, MfluxDepthError, type Remedy, type Warning } from "mflux-depth/errors";
import { propertyFor } from "./properties.js";

/** An error's message for NodeTool, with what to do about it. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof MfluxDepthError)) return error.message;
  const alternatives = error instanceof MemoryError ? alternativesIn(error) : [];
  return [sourceNamed(error), ...alternatives, ...adviceOn(error.details.remedies)].join(" ");
}

/** A warning's message for NodeTool, with what to do about it. */
export const warningOf = ({ message, remedies }: Warning): string =>
  [message, ...adviceOn(remedies)].join(" ");

/** The library's names for images without a file, and the properties they came in. */
const propertyOfSource: Readonly<Record<string, string>> = {
  "the photo": "image",
  "the depth map": "depth_image",
};

/** The message, with the property in place of the library's name for an image. */
function sourceNamed(error: MfluxDepthError): string {
  const property = error instanceof ImageError ? propertyOfSource[error.source] : undefined;
  return error instanceof ImageError && property !== undefined
    ? `${property}${error.message.slice(error.source.length)}`
    : error.message;
}

/** One sentence for each remedy that the node can offer. */
const adviceOn = (remedies: readonly Remedy[] = []): string[] => remedies.flatMap(sentenceFor);

function sentenceFor(remedy: Remedy): string[] {
  switch (remedy.kind) {
    case "set-option": {
      const property = propertyFor(remedy.option);
      return property ? [`Set ${property}${remedy.value === undefined ? "" : ` to ${remedy.value}`}.`] : [];
    }
    case "omit-option": {
      const property = propertyFor(remedy.option);
      return property ? [`Leave ${property} empty.`] : [];
    }
    case "download":
      return [`Download ${remedy.model} in NodeTool's model manager.`];
    case "inspect-machine":
      return ["Run mflux-depth doctor in a terminal."];
  }
}

/** The settings that would fit, as far as they are properties. */
function alternativesIn({ alternatives }: MemoryError): string[] {
  const fitting = alternatives
    .map(({ peak: _, ...settings }) => Object.entries(settings))
    .filter((settings) => settings.every(([option]) => propertyFor(option) !== undefined))
    .map((settings) => settings.map(([option, value]) => `${propertyFor(option)} ${value}`).join(", "));
  return fitting.length > 0 ? [`It would fit with ${fitting.join("; or with ")}.`] : [];
}
