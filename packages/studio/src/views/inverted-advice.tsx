import { strings } from "../strings.js";

const text = strings.depthPanel;

interface InvertedAdviceProps {
  readonly onInvert: () => void;
  readonly onKeep: () => void;
}

/** Warns that a map looks inverted, and offers to swap near and far. */
export const InvertedAdvice = ({ onInvert, onKeep }: InvertedAdviceProps) => (
  <div class="notice" role="status">
    <p>{text.inverted}</p>
    <button type="button" class="button" onClick={onInvert}>
      {text.invertIt}
    </button>
    <button type="button" class="button button-quiet" onClick={onKeep}>
      {text.notInverted}
    </button>
  </div>
);
