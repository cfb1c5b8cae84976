import type { WorkerObject } from "@mflux-depth/server/contract";
import { useEffect } from "preact/hooks";
import { memoryText, roughTime } from "../controls/format.js";
import { attempt } from "../state/failures.js";
import { jobs } from "../state/jobs.js";
import { readWorkers, setDraining, workers } from "../state/queue.js";
import { strings } from "../strings.js";

const text = strings.queue;

/** Workers are asked for again after this long while the list is open. */
const workerMilliseconds = 3000;

/** The worker of the server's own process, which needs no attention. */
const ownWorker = "local";

interface WorkersPanelProps {
  /** Shows the job that a worker does. */
  readonly onOpen: (job: string) => void;
}

/** Who works, on what, and who takes a break. It is folded up while the server works alone. */
export function WorkersPanel({ onOpen }: WorkersPanelProps) {
  useEffect(() => {
    const ask = (): void => void readWorkers().catch(() => undefined);
    ask();
    const timer = setInterval(ask, workerMilliseconds);
    return () => clearInterval(timer);
  }, []);
  if (workers.value.length === 0) return null;
  const hasOthers = workers.value.some(({ id }) => id !== ownWorker);
  return (
    <details class="workers" open={hasOthers}>
      <summary>
        <h3>{text.workers}</h3>
      </summary>
      <ul>
        {workers.value.map((worker) => (
          <Worker key={worker.id} worker={worker} onOpen={onOpen} />
        ))}
      </ul>
    </details>
  );
}

function Worker({ worker, onOpen }: WorkersPanelProps & { readonly worker: WorkerObject }) {
  const { id, state, job, device, memory_bytes: memory, model } = worker;
  const draining = state === "draining";
  return (
    <li class="worker">
      <span class="worker-words">
        <span>{id}</span>
        <span class="quiet small number">
          {[stateText(worker), device, memoryText(memory), model].filter(Boolean).join(" · ")}
        </span>
        {job !== null && (
          <button type="button" class="worker-job small" onClick={() => onOpen(job)}>
            {String(jobs.value.get(job)?.request.prompt ?? strings.history.untitled)}
          </button>
        )}
      </span>
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
    </li>
  );
}

/** What a worker does, or for how long nobody has heard of it. */
function stateText({ state, last_seen: lastSeen }: WorkerObject): string {
  if (state !== "lost") return text.workerStates[state];
  return text.lostFor(roughTime((Date.now() - Date.parse(lastSeen)) / 1000));
}
