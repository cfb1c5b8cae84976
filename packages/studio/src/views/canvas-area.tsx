import type { JobObject } from "@mflux-depth/server/contract";
import { DepthStage, type View } from "../canvas/index.js";
import { Icon } from "../design/icons.js";
import { depth } from "../state/depth.js";
import { frame } from "../state/generation.js";
import { isFinished } from "../state/jobs.js";
import { mask } from "../state/mask.js";
import {
  comparison,
  gridSize,
  group,
  isDraftShown,
  isEditable,
  levels,
  pictures,
  shown,
  showsGrid,
  view,
} from "../state/shown.js";
import { strings } from "../strings.js";
import { brush, clipping, maskBrush } from "./brush-state.js";
import { ImageGrid, JobGrid } from "./grid.js";
import { ProgressStrip } from "./progress-strip.js";
import { ResultBar } from "./result-bar.js";
import { holding, toggleComparison } from "./shortcuts.js";

const text = strings.views;
const views = ["photo", "depth", "relief", "result"] as const;

/** The canvas with the choice of views above it and the job below it. */
export function CanvasArea() {
  const job = shown.value;
  return (
    <main class="canvas-area">
      <ViewBar />
      <div class="canvas-stage">
        {isInGrid() ? <Grid job={job} /> : <Stage />}
        {!job && depth.value.state === "loading" && (
          <p class="canvas-note">
            <span class="spinner" />
            {strings.depthPanel.loading}
          </p>
        )}
      </div>
      {job && !isFinished(job) && <ProgressStrip job={job} />}
      {job && isFinished(job) && <ResultBar job={job} />}
    </main>
  );
}

const isInGrid = (): boolean => showsGrid.value && gridSize.value > 1;

const Grid = ({ job }: { readonly job: JobObject | null }) =>
  job && job.images.length > 1 ? <ImageGrid job={job} /> : <JobGrid jobs={group.value} />;

/** Which views have a picture. */
const present = (): Readonly<Record<View, boolean>> => {
  const { photo, depth: map, result } = pictures.value;
  return { photo: photo !== null, depth: map !== null, relief: map !== null, result: result !== null };
};

/** The chosen view, or another one while its picture is missing. */
function visibleView(): View {
  const there = present();
  if (holding.value && there.photo) return "photo";
  if (there[view.value]) return view.value;
  return there.depth ? "depth" : "photo";
}

function Stage() {
  const { photo, depth: map, result } = pictures.value;
  const visible = visibleView();
  // While the key that shows the photo is held, show it without the mask.
  const shownMask = isDraftShown.value && !holding.value ? mask.value : null;
  const inHand = visible === "photo" && shownMask ? maskBrush : brush;
  const paints = inHand === maskBrush || (isEditable.value && visible === "depth");
  return (
    <DepthStage
      photo={photo}
      depth={map}
      mask={shownMask}
      result={result}
      levels={levels.value}
      clipping={clipping.value}
      view={visible}
      compare={holding.value ? null : comparison.value}
      brush={paints ? inHand.value : null}
      onBrush={(next) => {
        inHand.value = next;
      }}
      frame={isEditable.value ? frame.value : null}
    />
  );
}

function ViewBar() {
  const there = present();
  const visible = visibleView();
  const compared = comparison.value;
  /** What the visible view can be compared with. */
  const bases = (["photo", "depth"] as const).filter((name) => there[name] && visible !== name);
  return (
    <div class="view-bar" data-compared={compared ? "" : undefined}>
      <fieldset class="segments views" aria-label={text.label}>
        {views.map((name, index) => (
          <button
            key={name}
            type="button"
            aria-pressed={visible === name && !isInGrid()}
            aria-keyshortcuts={String(index + 1)}
            disabled={!there[name]}
            onClick={() => {
              showsGrid.value = false;
              view.value = name;
              if (compared?.with === name) comparison.value = null;
            }}
          >
            {text[name]}
          </button>
        ))}
      </fieldset>
      <span class="spacer" />
      {gridSize.value > 1 && (
        <button
          type="button"
          class="button button-quiet"
          aria-pressed={isInGrid()}
          onClick={() => {
            showsGrid.value = !showsGrid.value;
          }}
        >
          <Icon name="grid" />
          <span class="button-text">{strings.result.grid(gridSize.value)}</span>
        </button>
      )}
      {compared && bases.length > 1 && (
        <fieldset class="segments compare-choice" aria-label={text.compareWith}>
          {bases.map((name) => (
            <button
              key={name}
              type="button"
              aria-pressed={compared.with === name}
              onClick={() => {
                comparison.value = { ...compared, with: name };
              }}
            >
              {text[name]}
            </button>
          ))}
        </fieldset>
      )}
      {compared && (
        <fieldset class="segments compare-choice" aria-label={text.compare}>
          {(["slider", "side"] as const).map((mode) => (
            <button
              key={mode}
              type="button"
              aria-pressed={compared.mode === mode}
              onClick={() => {
                comparison.value = { ...compared, mode };
              }}
            >
              {text[mode]}
            </button>
          ))}
        </fieldset>
      )}
      <button
        type="button"
        class="button"
        aria-pressed={compared !== null}
        aria-keyshortcuts="C"
        title={text.hold}
        disabled={!there.photo && !there.depth}
        onClick={toggleComparison}
      >
        <Icon name="compare" />
        <span class="button-text">{text.compare}</span>
      </button>
    </div>
  );
}
