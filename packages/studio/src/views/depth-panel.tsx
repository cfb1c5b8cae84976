import { useLayoutEffect, useRef } from "preact/hooks";
import { BrushPanel, DepthHistogram } from "../canvas/index.js";
import { FileButton } from "../controls/file-button.js";
import { depth, isPainted, looksInverted, resetPainting, retryDepth } from "../state/depth.js";
import { draft, edit, type Picture } from "../state/draft.js";
import { attempt } from "../state/failures.js";
import { takeFile } from "../state/pictures.js";
import { showDraft, view } from "../state/shown.js";
import { strings } from "../strings.js";
import { brush, clipping } from "./brush-state.js";
import { FileThumbnail } from "./file-thumbnail.js";
import { InvertedAdvice } from "./inverted-advice.js";
import { TakenNotice } from "./taken-notice.js";

const text = strings.depthPanel;

/** The photo and its depth, with everything that shapes it. */
export function DepthPanel() {
  const { photo, map } = draft.value;
  const panel = useRef<HTMLElement>(null);
  // Notices about a new picture are at the top.
  useLayoutEffect(() => panel.current?.scrollTo(0, 0), [photo?.id, map?.id]);
  return (
    <section ref={panel} class="panel depth-panel" aria-labelledby="depth-title">
      <h2 id="depth-title" class="visually-hidden">
        {text.title}
      </h2>
      <div class="sources">
        {photo && <Source label={text.photo} picture={photo} />}
        {map && <Source label={text.givenMap} picture={map} />}
      </div>
      <TakenNotice />
      <Shaping />
    </section>
  );
}

const Source = ({ label, picture }: { readonly label: string; readonly picture: Picture }) => (
  <div class="source">
    <FileThumbnail id={picture.id} />
    <div class="source-words">
      <p>{label}</p>
      <p class="quiet small number source-name" title={picture.name}>
        {picture.width} × {picture.height}
      </p>
    </div>
    <FileButton class="button button-quiet" onFile={(file) => void takeFile(file)}>
      {text.replace}
    </FileButton>
  </div>
);

function Shaping() {
  const state = depth.value;
  if (state.state === "none") return null;
  if (state.state === "failed")
    return (
      <div class="notice notice-bad" role="alert">
        <p>
          {text.failed} {state.message}
        </p>
        <button type="button" class="button" onClick={retryDepth}>
          {text.retry}
        </button>
      </div>
    );
  const { levels, trusted } = draft.value;
  const painting = state.state === "ready" ? state.painting : null;
  /** Levels apply to the draft, so the canvas shows the draft from now on. */
  const shape = (next: typeof levels): void => {
    edit({ levels: next });
    showDraft();
    if (view.value === "photo" || view.value === "result") view.value = "depth";
  };
  return (
    <>
      {looksInverted.value && !levels.invert && !trusted && (
        <InvertedAdvice
          onInvert={() => shape({ ...levels, invert: true })}
          onKeep={() => edit({ trusted: true })}
        />
      )}
      <section class="group" aria-labelledby="levels-title">
        <h3 id="levels-title">{text.levels}</h3>
        {painting && (
          <DepthHistogram
            depth={painting}
            levels={levels}
            onLevels={shape}
            onDragging={(active) => {
              clipping.value = active;
            }}
          />
        )}
      </section>
      {painting && (
        <section class="group">
          <BrushPanel
            depth={painting}
            brush={brush.value}
            onBrush={(next) => {
              brush.value = next;
              if (next) showDraft("depth");
            }}
          />
          {isPainted() && (
            <button type="button" class="button button-quiet" onClick={() => attempt(resetPainting())}>
              {text.resetPainting}
            </button>
          )}
        </section>
      )}
    </>
  );
}
