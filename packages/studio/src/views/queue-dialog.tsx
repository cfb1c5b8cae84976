import type { JobObject } from "@mflux-depth/server/contract";
import { signal } from "@preact/signals";
import { Dialog } from "../controls/dialog.js";
import { Icon } from "../design/icons.js";
import { attempt } from "../state/failures.js";
import { cancel, isPaused, move, queue, setPaused } from "../state/queue.js";
import { show, showsGrid } from "../state/shown.js";
import { strings } from "../strings.js";
import { progressText, shareOf } from "./progress-text.js";
import { hasOthers, WorkersPanel } from "./workers-panel.js";

const text = strings.queue;

export const queueOpen = signal(false);

const close = (): void => {
  queueOpen.value = false;
};

/** Shows a job in place of the queue. */
function open(id: string): void {
  close();
  showsGrid.value = false;
  show(id);
}

/** The jobs that run and wait, and the workers. */
export const QueueDialog = () => (
  <Dialog title={text.title} closeLabel={text.close} open={queueOpen.value} onClose={close}>
    <div class="queue-head">
      <p class="quiet" role="status">
        {isPaused.value ? text.pausedText : summaryText()}
      </p>
      <button type="button" class="button" onClick={() => attempt(setPaused(!isPaused.value))}>
        <Icon name={isPaused.value ? "play" : "pause"} />
        {isPaused.value ? text.resume : text.pause}
      </button>
    </div>
    <div class="queue-body" data-fleet={hasOthers.value || undefined}>
      <ol class="queue-list">
        {queue.value.map((job) => (
          <QueuedJob key={job.id} job={job} />
        ))}
      </ol>
      <WorkersPanel onOpen={open} />
    </div>
  </Dialog>
);

function summaryText(): string {
  const running = queue.value.filter(({ state }) => state === "running").length;
  return queue.value.length === 0 ? text.empty : text.summary(running, queue.value.length - running);
}

function QueuedJob({ job }: { readonly job: JobObject }) {
  const waiting = queue.value.filter(({ state }) => state === "queued");
  const at = waiting.indexOf(job);
  const words = String(job.request.prompt ?? strings.history.untitled);
  const share = shareOf(job);
  return (
    <li class="queued">
      <button type="button" class="queued-words" onClick={() => open(job.id)}>
        <span class="queued-prompt">{words}</span>
        <span class="quiet small number">
          {[progressText(job), hasOthers.value && job.worker && text.on(job.worker)]
            .filter(Boolean)
            .join(" · ")}
        </span>
        {share !== null && (
          <span class="bar">
            <div style={{ width: `${100 * share}%` }} />
          </span>
        )}
      </button>
      {job.state === "queued" && (
        <>
          <button
            type="button"
            class="icon-button"
            aria-label={`${text.up}: ${words}`}
            title={text.up}
            disabled={at === 0}
            onClick={() => attempt(move(job.id, "up"))}
          >
            <Icon name="up" />
          </button>
          <button
            type="button"
            class="icon-button"
            aria-label={`${text.down}: ${words}`}
            title={text.down}
            disabled={at === waiting.length - 1}
            onClick={() => attempt(move(job.id, "down"))}
          >
            <Icon name="down" />
          </button>
        </>
      )}
      <button
        type="button"
        class="icon-button"
        aria-label={`${text.cancel}: ${words}`}
        title={text.cancel}
        disabled={job.cancel_requested}
        onClick={() => attempt(cancel(job.id))}
      >
        <Icon name="close" />
      </button>
    </li>
  );
}
