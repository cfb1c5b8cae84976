/** The canvas: views and edits depth. */
export { type Brush, type BrushPoint, type BrushTool, defaultBrush } from "./brush/brush.js";
export { DepthPainting } from "./brush/painting.js";
export { BrushPanel, type BrushPanelProps } from "./components/brush-panel.js";
export { DepthHistogram, type DepthHistogramProps } from "./components/depth-histogram.js";
export { DepthStage, type DepthStageProps } from "./components/depth-stage.js";
export { MaskPanel, type MaskPanelProps, maskBrush } from "./components/mask-panel.js";
export { type DepthField, type FieldOrigin, makeField } from "./field/depth-field.js";
export { isNeutral, type Levels, neutralLevels } from "./field/levels.js";
export { blankMask, freesSomething, invertedMask, maskSize } from "./field/mask.js";
export { fieldFromNpy } from "./field/npy.js";
export { encodeDepth } from "./field/png16.js";
export type { Size } from "./field/rectangle.js";
export type { PictureKind } from "./pictures/classify.js";
export { classifyPicture, decodePicture } from "./pictures/decode.js";
export { type Fitting, type Frame, framedField, frameFor, isWhole, renderFrame } from "./pictures/frame.js";
export { drawMask, encodePicture, readMask } from "./pictures/mask.js";
export type { Comparison, View } from "./stage/view.js";
