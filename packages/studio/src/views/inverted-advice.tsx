import { signal } from "@preact/signals";
import type { DepthPainting } from "../canvas/index.js";
import { strings } from "../strings.js";

const text = strings.depthPanel;

/** A map that looks inverted, but which the person wants as it is. */
export const trustedMap = signal<DepthPainting | null>(null);

/** Says that a map looks inverted, and offers to swap near and far. */
export const InvertedAdvice = ({
  painting,
  onInvert,
}: {
  readonly painting: DepthPainting;
  readonly onInvert: () => void;
}) => (
  <div class="notice" role="status">
    <p>{text.inverted}</p>
    <button type="button" class="button" onClick={onInvert}>
      {text.invertIt}
    </button>
    <button
      type="button"
      class="button button-quiet"
      onClick={() => {
        trustedMap.value = painting;
      }}
    >
      {text.notInverted}
    </button>
  </div>
);
