/** Encoded images, for programs that receive and send them: identifies, checks and converts them. */

export { checkDecodable, type ReadImageOptions } from "./decode.js";
export type { ImageFormat } from "./encode.js";
export { type ImageIdentity, identifyImage } from "./identify.js";
export { type DepthMap, decodeMap, encodeMap, type MapFormat } from "./map.js";
export type { PictureParameters } from "./metadata.js";
export { toNpy } from "./npy.js";
export { changeParameters, parametersIn } from "./parameters.js";
export { type ReencodeOptions, reencode } from "./reencode.js";
