import type { JobObject } from "@mflux-depth/server/contract";
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { fileNameOf } from "../commands/file-name.js";
import { commandsOf } from "../commands/index.js";
import { Menu, MenuItem } from "../controls/menu.js";
import { Icon } from "../design/icons.js";
import { attempt, failure } from "../state/failures.js";
import { retry, varySeedOf } from "../state/generation.js";
import { removeLater, setStarred } from "../state/history.js";
import { withOnly } from "../state/images.js";
import { hasPicture } from "../state/pictures.js";
import { reuseJob, useAsInput } from "../state/reuse.js";
import { showDraft, shownImage } from "../state/shown.js";
import { usesToken } from "../state/token-use.js";
import { strings } from "../strings.js";
import { progressText } from "./progress-text.js";

const text = strings.result;

/** The actions for a job that has ended. */
export const ResultBar = ({ job }: { readonly job: JobObject }) => (
  <section class="result-bar" aria-label={text.label}>
    <div class="result-words">
      {job.state === "succeeded" ? (
        <p class="result-prompt" title={String(job.request.prompt ?? "")}>
          {String(job.request.prompt ?? strings.history.untitled)}
        </p>
      ) : (
        <p class={job.state === "failed" ? "problem" : undefined}>
          <strong>{progressText(job)}.</strong> {job.error?.message}
        </p>
      )}
      {job.seed !== null && <SeedAndPlace job={job} />}
      {job.warnings.map((warning) => (
        <p key={warning} class="quiet small">
          {warning}
        </p>
      ))}
    </div>
    {hasPicture.value && (
      <button type="button" class="button button-quiet" onClick={() => showDraft("depth")}>
        {text.edit}
      </button>
    )}
    <div class="result-actions">
      {shownImage.value ? (
        <ImageActions job={withOnly(job, shownImage.value)} image={shownImage.value} />
      ) : (
        <RetryButton job={job} />
      )}
      <ReuseMenu job={job} />
      <button
        type="button"
        class="icon-button"
        aria-pressed={job.starred}
        aria-label={job.starred ? text.unstar : text.star}
        title={job.starred ? text.unstar : text.star}
        onClick={() => attempt(setStarred(job, !job.starred))}
      >
        <Icon name="star" />
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={text.remove}
        title={text.remove}
        onClick={() => {
          showDraft("depth");
          removeLater(job.id);
        }}
      >
        <Icon name="trash" />
      </button>
    </div>
  </section>
);

/** The seed of the image on the canvas, and its rank among the job's images. */
function SeedAndPlace({ job }: { readonly job: JobObject }) {
  const image = shownImage.value;
  const seed = image?.seed ?? job.seed;
  const place = image?.score && text.place(job.images.indexOf(image) + 1, image.score.rmse);
  return (
    <p class="quiet small number" title={place ? text.placeHint : undefined}>
      {[place, seed !== null && text.seed(seed)].filter(Boolean).join(" · ")}
    </p>
  );
}

const RetryButton = ({ job }: { readonly job: JobObject }) => (
  <button type="button" class="button" onClick={() => void retry(job.id)}>
    <Icon name="reuse" />
    {strings.progress.again}
  </button>
);

const ImageActions = ({
  job,
  image,
}: {
  readonly job: JobObject;
  readonly image: NonNullable<JobObject["image"]>;
}) => (
  <>
    <a class="button" href={image.url} download={fileNameOf(job)}>
      <Icon name="download" />
      {text.download}
    </a>
    <button type="button" class="button" title={text.varyHint} onClick={() => void varySeedOf(job)}>
      <Icon name="grid" />
      {text.vary}
    </button>
    <button type="button" class="button" title={text.inputHint} onClick={() => attempt(useAsInput(job))}>
      <Icon name="picture" />
      {text.input}
    </button>
    <CopyMenu job={job} />
  </>
);

/** How long the button confirms a copy: long enough for a screen reader. */
const copiedMs = 4000;

function CopyMenu({ job }: { readonly job: JobObject }) {
  const copied = useSignal(false);
  const reset = useRef<number | undefined>(undefined);
  const copy = async (command: string): Promise<void> => {
    // Browsers allow only secure pages to copy.
    if (!navigator.clipboard) {
      failure.value = { message: text.cannotCopy };
      return;
    }
    await navigator.clipboard.writeText(command);
    copied.value = true;
    clearTimeout(reset.current);
    reset.current = window.setTimeout(() => {
      copied.value = false;
    }, copiedMs);
  };
  const commands = commandsOf(job, { origin: location.origin, usesToken: usesToken() });
  return (
    <>
      <Menu label={copied.value ? text.copied : text.copy} icon="copy">
        {(Object.keys(commands) as (keyof typeof commands)[]).map((name) => (
          <MenuItem key={name} onClick={() => attempt(copy(commands[name]))}>
            {text.commands[name]}
          </MenuItem>
        ))}
      </Menu>
      <span class="visually-hidden" role="status">
        {copied.value && text.copied}
      </span>
    </>
  );
}

const ReuseMenu = ({ job }: { readonly job: JobObject }) => (
  <Menu label={text.reuse} icon="reuse">
    <MenuItem onClick={() => attempt(reuseJob(job, "all"))}>{text.reuseAll}</MenuItem>
    <MenuItem onClick={() => attempt(reuseJob(job, "all-but-seed"))}>{text.reuseWithoutSeed}</MenuItem>
    <MenuItem onClick={() => attempt(reuseJob(job, "depth"))}>{text.reuseDepth}</MenuItem>
  </Menu>
);
