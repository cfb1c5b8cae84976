import type { WorkerObject } from "@mflux-depth/server/contract";
import { computed } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { memoryText, roughTime } from "../controls/format.js";
import { attempt } from "../state/failures.js";
import { jobs } from "../state/jobs.js";
import { readWorkers, setDraining, workers } from "../state/queue.js";
import { strings } from "../strings.js";
import { shareOf } from "./progress-text.js";

const text = strings.queue;

/** Workers are asked for again after this long while the list is open. */
const workerMilliseconds = 3000;

/** The worker of the server's own process, which needs no attention. */
const ownWorker = "local";

/** Whether anybody works besides the server's own process. */
export const hasOthers = computed(() => workers.value?.some(({ id }) => id !== ownWorker) ?? false);

interface WorkersPanelProps {
  /** Shows the job that a worker does. */
  readonly onOpen: (job: string) => void;
}

/** The workers with their jobs and breaks. Folded while the server works alone. */
export function WorkersPanel({ onOpen }: WorkersPanelProps) {
  useEffect(() => {
    const ask = (): void => void readWorkers().catch(() => undefined);
    ask();
    const timer = setInterval(ask, workerMilliseconds);
    return () => clearInterval(timer);
  }, []);
  const all = workers.value;
  if (all === null) return null;
  if (all.length === 0) return <p class="notice">{text.noWorkers}</p>;
  const present = all.filter(({ state }) => state !== "lost");
  return (
    <details class="workers" open={hasOthers.value}>
      <summary>
        <h3>{text.workers}</h3>
        <span class="quiet small number">
          {text.workersSummary(all.length, present.filter(({ job }) => job !== null).length)}
        </span>
      </summary>
      {present.every(({ state }) => state === "draining") && <p class="notice">{text.allResting}</p>}
      <ul>
        {[...all].sort(inOrder).map((worker) => (
          <Worker key={worker.id} worker={worker} onOpen={onOpen} />
        ))}
      </ul>
    </details>
  );
}

/** By name, so that nothing moves when states change; those that are gone come last. */
const inOrder = (a: WorkerObject, b: WorkerObject): number =>
  Number(a.state === "lost") - Number(b.state === "lost") || a.id.localeCompare(b.id);

function Worker({ worker, onOpen }: WorkersPanelProps & { readonly worker: WorkerObject }) {
  const { id, state, device, memory_bytes: memory, model } = worker;
  const draining = state === "draining";
  return (
    <li class="worker" data-state={state}>
      <div class="worker-words">
        <p class="worker-name">
          <span class="worker-dot" aria-hidden="true" />
          <span class="worker-id" title={id}>
            {id}
          </span>
        </p>
        <p class="quiet small number">
          <span class="worker-state">{stateText(worker)}</span>
          {[device.toUpperCase(), memoryText(memory), model].filter(Boolean).map((fact) => ` · ${fact}`)}
        </p>
      </div>
      {state !== "lost" && (
        <button
          type="button"
          class="button"
          aria-label={`${draining ? text.undrain : text.drain}: ${id}`}
          onClick={() => attempt(setDraining(id, !draining))}
        >
          {draining ? text.undrain : text.drain}
        </button>
      )}
      {worker.job !== null && <WorkersJob id={worker.job} onOpen={onOpen} />}
    </li>
  );
}

/** A worker's job and its progress. */
function WorkersJob({ id, onOpen }: WorkersPanelProps & { readonly id: string }) {
  const job = jobs.value.get(id);
  const share = job ? shareOf(job) : null;
  return (
    <button type="button" class="worker-job" onClick={() => onOpen(id)}>
      <span class="worker-prompt">{String(job?.request.prompt ?? strings.history.untitled)}</span>
      {share !== null && (
        <span class="bar">
          <div style={{ width: `${100 * share}%` }} />
        </span>
      )}
    </button>
  );
}

/** The state of a worker, or how long it has been silent. */
function stateText({ state, job, last_seen: lastSeen }: WorkerObject): string {
  if (state === "draining" && job !== null) return text.drainingAfter;
  if (state !== "lost") return text.workerStates[state];
  return text.lostFor(roughTime((Date.now() - Date.parse(lastSeen)) / 1000));
}
