/** The options of requests, models and depth maps: tables, types, checks, and forms derived from them. */

export { isRecord } from "../record.js";
export { checkOption, checkOptions, refuseUnknown, requireOptions } from "./check.js";
export { mostPixels } from "./defaults.js";
export { type JsonForms, type JsonSchema, jsonSchemaOf } from "./json-schema.js";
export { describeKind, type OptionKind, type ValueOfKind } from "./kinds.js";
export { toJsonName, toOptionName, toOptionNames } from "./names.js";
export { parseOption } from "./parse.js";
export {
  requireDepthSource,
  requireNearAboveFar,
  requirePhotoForMask,
  resolveLoadOptions,
  resolveRequest,
  valuesOf,
} from "./resolve.js";
export { bestOfOption, scoreOptions } from "./score.js";
export { seedAfter, seedsFrom } from "./seeds.js";
export { nearest } from "./suggest.js";
export {
  depthOptions,
  loadOptions,
  maxSeed,
  type OptionGroup,
  type OptionScope,
  type OptionSpec,
  type OptionTable,
  optionsFor,
  optionsIn,
  requestOptions,
} from "./table.js";
export type {
  Bits,
  DepthOption,
  DeviceName,
  DTypeName,
  GenerateRequest,
  GivenOptions,
  LoadOption,
  LoadOptions,
  MemoryPolicy,
  RequestDefaults,
  RequestOption,
  ResolvedAdapter,
  ResolvedLoadOptions,
  ResolvedOptions,
  ResolvedRequest,
} from "./types.js";
export type {
  AdapterInput,
  AdapterReference,
  ImageInput,
  ModelReference,
  RawImage,
  ShapedTensor,
  TensorInput,
} from "./values.js";
