/*
 * Errors and warnings of the library in the node's terms: properties for options, NodeTool's model manager for
 * downloads. Remedies for options that the node does not offer are omitted.
 */
import { asSentence, phraseRemedies, type Terms } from "mflux-depth/advice";
import {
  ImageError,
  MemoryError,
  MfluxDepthError,
  type Remedy,
  shortened,
  type Warning,
} from "mflux-depth/errors";
import { propertyFor } from "./properties.js";

/** An error's message for NodeTool, with advice. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof MfluxDepthError)) return shortened(error.message);
  const alternatives = error instanceof MemoryError ? alternativesIn(error) : [];
  const advice = [...alternatives, ...adviceOn(error.details.remedies)];
  const message = sourceNamed(error);
  return advice.length === 0 ? message : [asSentence(message), ...advice].join(" ");
}

/** A warning's message for NodeTool, with advice. */
export const warningOf = ({ message, remedies }: Warning): string =>
  [message, ...adviceOn(remedies)].join(" ");

/** The library's names for images without a file, and the properties that carried them. */
const propertyOfSource: Readonly<Record<string, string>> = {
  "the photo": "image",
  "the depth map": "depth_image",
};

/** The message, with the library's name for an image replaced by the property. */
function sourceNamed(error: MfluxDepthError): string {
  const property = error instanceof ImageError ? propertyOfSource[error.source] : undefined;
  return error instanceof ImageError && property !== undefined
    ? `${property}${error.message.slice(error.source.length)}`
    : error.message;
}

/** One sentence per remedy that the node can offer. */
const adviceOn = (remedies: readonly Remedy[] = []): string[] => phraseRemedies(remedies, propertyTerms);

const propertyTerms: Terms = {
  set(option, value) {
    const property = propertyFor(option);
    if (property === undefined) return null;
    return value === undefined ? `set ${property}` : `set ${property} to ${value}`;
  },
  omit(option) {
    const property = propertyFor(option);
    return property === undefined ? null : `leave ${property} empty`;
  },
  other(remedy) {
    switch (remedy.kind) {
      case "download":
        return `download ${remedy.model} in NodeTool's model manager`;
      case "correct-variable":
        return `unset ${remedy.variable} in the worker's environment, or correct it`;
      case "inspect-machine":
      case "reinstall":
        return "run mflux-depth doctor in a terminal";
    }
  },
};

/** The settings that would fit, as far as they are properties of the node. */
function alternativesIn({ alternatives }: MemoryError): string[] {
  const fitting = alternatives
    .map(({ peak: _, ...settings }) => Object.entries(settings))
    .filter((settings) => settings.every(([option]) => propertyFor(option) !== undefined))
    .map((settings) => settings.map(([option, value]) => `${propertyFor(option)} ${value}`).join(", "));
  return fitting.length > 0 ? [`It would fit with ${fitting.join("; or with ")}.`] : [];
}
