export * from "./activations.js";
export { Adapter, type AdapterOptions, type Dial, type Gain } from "./adapter.js";
export * from "./attention.js";
export { type Bfloat16Speed, bfloat16AttentionSpeed } from "./attention-speed.js";
export { Conv2d, ConvTranspose2d } from "./conv.js";
export { Delta, Kronecker, LowRank, WholeDelta } from "./delta.js";
export { Embedding } from "./embedding.js";
export { joined } from "./join.js";
export {
  canMultiplyIntegers,
  Linear,
  type QuantizedProducts,
  setQuantizedProducts,
} from "./linear.js";
export { LinearInput } from "./linear-input.js";
export { MatrixLayer, multipliesStored } from "./matrix.js";
export * from "./modulation.js";
export {
  batchBytes,
  type LayerQuantization,
  LoadError,
  type LoadOptions,
  type Misfit,
  Module,
  propertyPath,
} from "./module.js";
export { GroupNorm, joinMoments, LayerNorm, RMSNorm } from "./norm.js";
export { randomize } from "./randomize.js";
export { lazily, runStages, type Stages } from "./stages.js";
