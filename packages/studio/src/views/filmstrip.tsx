import type { JobObject } from "@mflux-depth/server/contract";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../design/icons.js";
import { thumbnailOf } from "../state/api.js";
import { hasMore, history, isReading, query, readMore, removeLater, starredOnly } from "../state/history.js";
import { isFinished, progressOf } from "../state/jobs.js";
import { isNew, markOpened } from "../state/news.js";
import { show, showDraft, shown, showsGrid } from "../state/shown.js";
import { strings } from "../strings.js";
import { shareOf } from "./progress-text.js";

const text = strings.history;

/** Everything made so far, newest first. */
export function Filmstrip() {
  const jobs = history.value;
  const filtered = query.value !== "" || starredOnly.value;
  if (jobs.length === 0 && !filtered && !hasMore.value) return null;
  return (
    <section class="filmstrip" aria-labelledby="history-title">
      <div class="filmstrip-head">
        <h2 id="history-title">{text.title}</h2>
        <span class="spacer" />
        <Search />
        <button
          type="button"
          class="icon-button"
          aria-pressed={starredOnly.value}
          aria-label={text.starred}
          title={text.starred}
          onClick={() => {
            starredOnly.value = !starredOnly.value;
          }}
        >
          <Icon name="star" />
        </button>
      </div>
      {jobs.length === 0 && !isReading.value && !hasMore.value ? (
        <p class="quiet filmstrip-empty">{filtered ? text.nothingFound : text.empty}</p>
      ) : (
        <Film jobs={jobs} />
      )}
    </section>
  );
}

/** Typing pauses this long before the server searches. */
const settleMilliseconds = 250;

function Search() {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  return (
    <label class="search">
      <span class="visually-hidden">{text.search}</span>
      <Icon name="search" />
      <input
        id="search"
        class="input"
        type="search"
        placeholder={text.search}
        onInput={({ currentTarget }) => {
          clearTimeout(timer.current);
          timer.current = setTimeout(() => {
            query.value = currentTarget.value.trim();
          }, settleMilliseconds);
        }}
      />
    </label>
  );
}

function Film({ jobs }: { readonly jobs: readonly JobObject[] }) {
  const list = useRef<HTMLUListElement>(null);
  return (
    <ul
      ref={list}
      class="film"
      onKeyDown={(event) => {
        const buttons = [...list.current!.querySelectorAll<HTMLButtonElement>(".frame")];
        const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
        if (at < 0) return;
        if (event.key === "Delete") {
          const job = jobs[at];
          if (job && isFinished(job)) {
            if (shown.value?.id === job.id) showDraft("depth");
            removeLater(job.id);
          }
          (buttons[at + 1] ?? buttons[at - 1])?.focus();
        }
        if (to === undefined) return;
        event.preventDefault();
        buttons[to]?.focus();
      }}
    >
      {jobs.map((job) => (
        <Frame key={job.id} job={job} />
      ))}
      {hasMore.value && <More count={jobs.length} />}
    </ul>
  );
}

/** Reads the next page when it comes into view; the count makes it look again after each page. */
function More({ count }: { readonly count: number }) {
  const end = useRef<HTMLLIElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (entry?.isIntersecting) void readMore().catch(() => undefined);
      },
      { rootMargin: "400px" },
    );
    observer.observe(end.current!);
    return () => observer.disconnect();
  }, [count]);
  return (
    <li ref={end} class="film-more">
      <span class="spinner" />
    </li>
  );
}

function Frame({ job }: { readonly job: JobObject }) {
  const words = String(job.request.prompt ?? text.untitled);
  const isShown = shown.value?.id === job.id;
  return (
    <li>
      <button
        type="button"
        class="frame"
        aria-label={text.name(isNew(job) ? text.isNew : text.states[job.state], words)}
        aria-current={isShown ? "true" : undefined}
        title={words}
        onClick={() => {
          markOpened(job.id);
          showsGrid.value = false;
          show(job.id);
        }}
      >
        <FramePicture job={job} />
        {job.starred && (
          <span class="frame-star">
            <Icon name="star" />
          </span>
        )}
        {isNew(job) && <span class="frame-new">{text.isNew}</span>}
      </button>
    </li>
  );
}

function FramePicture({ job }: { readonly job: JobObject }) {
  if (job.image) return <img src={thumbnailOf(job.image, 256)} loading="lazy" alt="" />;
  if (job.depth && job.kind === "depth") return <img src={job.depth.url} loading="lazy" alt="" />;
  if (isFinished(job)) return <span class="frame-words">{text.states[job.state]}</span>;
  const { preview } = progressOf(job.id);
  const share = shareOf(job);
  return (
    <>
      {preview ? <img src={preview} alt="" /> : <span class="frame-words">{text.states[job.state]}</span>}
      <span class="bar frame-bar">
        <div style={{ width: `${100 * (share ?? 0)}%` }} />
      </span>
    </>
  );
}
