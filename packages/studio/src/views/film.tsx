import type { JobObject } from "@mflux-depth/server/contract";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../design/icons.js";
import { thumbnailOf } from "../state/api.js";
import { hasMore, isReading, readMore, removeLater } from "../state/history.js";
import { isFinished, progressOf } from "../state/jobs.js";
import { isNew, markOpened } from "../state/news.js";
import { show, showDraft, shown, showsGrid } from "../state/shown.js";
import { strings } from "../strings.js";
import { type FilmLayout, firstRange, placeOf, type Range, rangeOf, spacesOf } from "./film-window.js";
import { shareOf } from "./progress-text.js";

const text = strings.history;

/** Jobs as pictures, in one row or several. Only those in or near the view are on the page. */
export function Film({ jobs }: { readonly jobs: readonly JobObject[] }) {
  const list = useRef<HTMLUListElement>(null);
  const [range, setRange] = useState<Range>(firstRange);
  const [layout, setLayout] = useState<FilmLayout | null>(null);
  /** The frame to focus once it is on the page. */
  const [wanted, setWanted] = useState<number | null>(null);

  const follow = (): void => {
    const measured = measure(list.current!);
    if (!measured) return;
    const next = rangeOf(measured);
    setLayout((old) => (old && sameCells(old, measured) ? old : measured));
    setRange((old) => (old.first === next.first && old.end === next.end ? old : next));
  };
  useLayoutEffect(() => {
    const observer = new ResizeObserver(follow);
    observer.observe(list.current!);
    return () => observer.disconnect();
  }, []);
  // With the first jobs, frames can be measured; with fewer jobs, the range may end earlier.
  useLayoutEffect(follow, [jobs.length]);
  useLayoutEffect(() => {
    if (wanted === null) return;
    frameAt(list.current!, wanted)?.focus();
    setWanted(null);
  }, [wanted]);

  const first = Math.min(range.first, Math.max(jobs.length - 1, 0));
  const end = Math.min(range.end, jobs.length);
  const spaces = layout && spacesOf(layout, { first, end }, jobs.length);

  const focus = (index: number): void => {
    const to = Math.min(Math.max(index, 0), jobs.length - 1);
    const frame = frameAt(list.current!, to);
    if (frame || !layout) {
      frame?.focus();
      return;
    }
    const place = placeOf(layout, to);
    list.current!.scrollTo(layout.columns === 1 ? { left: place } : { top: place });
    setRange({ first: Math.max(0, to - firstRange.end), end: to + firstRange.end });
    setWanted(to);
  };

  return (
    <ul
      ref={list}
      class="film"
      onScroll={follow}
      onKeyDown={(event) => {
        const at = Number((document.activeElement as HTMLElement).dataset.index ?? Number.NaN);
        if (Number.isNaN(at)) return;
        if (event.key === "Delete") {
          const job = jobs[at];
          if (job && isFinished(job)) {
            if (shown.value?.id === job.id) showDraft("depth");
            removeLater(job.id);
          }
          focus(at + 1 < jobs.length ? at + 1 : at - 1);
        }
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: jobs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        focus(to);
      }}
    >
      <Space key="before" length={spaces?.before ?? 0} rows={layout !== null && layout.columns > 1} />
      {jobs.slice(first, end).map((job, i) => (
        <Frame
          key={job.id}
          job={job}
          index={first + i}
          // The total is unknown while the server has more.
          count={hasMore.value ? -1 : jobs.length}
        />
      ))}
      <Space key="after" length={spaces?.after ?? 0} rows={layout !== null && layout.columns > 1} />
      {hasMore.value && <More key="more" count={jobs.length} />}
    </ul>
  );
}

const frameAt = (list: HTMLElement, index: number): HTMLButtonElement | null =>
  list.querySelector<HTMLButtonElement>(`[data-index="${index}"]`);

/** The layout of the list and its visible part; null if it is empty or hidden. */
function measure(list: HTMLElement): FilmLayout | null {
  const frame = list.querySelector<HTMLElement>(".frame");
  if (!frame || frame.offsetWidth === 0) return null;
  const { columnGap, rowGap, flexWrap, paddingLeft, paddingRight } = getComputedStyle(list);
  if (flexWrap !== "wrap")
    return {
      columns: 1,
      cell: frame.offsetWidth,
      gap: Number.parseFloat(columnGap),
      scroll: list.scrollLeft,
      visible: list.clientWidth,
    };
  const gap = Number.parseFloat(columnGap);
  const width = list.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight);
  return {
    columns: Math.max(1, Math.floor((width + gap + 0.5) / (frame.offsetWidth + gap))),
    cell: frame.offsetHeight,
    gap: Number.parseFloat(rowGap),
    scroll: list.scrollTop,
    visible: list.clientHeight,
  };
}

const sameCells = (a: FilmLayout, b: FilmLayout): boolean =>
  a.columns === b.columns && a.cell === b.cell && a.gap === b.gap;

/** Reserves the space of frames that are not on the page. */
const Space = ({ length, rows }: { readonly length: number; readonly rows: boolean }) =>
  length > 0 ? (
    <li
      class="film-space"
      role="presentation"
      style={rows ? { flexBasis: "100%", height: `${length}px` } : { width: `${length}px` }}
    />
  ) : null;

/** The pause after a failed page, in milliseconds. */
const retryMs = 2000;

/** Reads the next page when it comes into view, and checks again after every read. */
function More({ count }: { readonly count: number }) {
  const end = useRef<HTMLLIElement>(null);
  const [pausing, setPausing] = useState(false);
  const canRead = !isReading.value && !pausing;
  useEffect(() => {
    if (!canRead) return;
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (entry?.isIntersecting) void readMore().catch(() => setPausing(true));
      },
      { rootMargin: "400px" },
    );
    observer.observe(end.current!);
    return () => observer.disconnect();
  }, [count, canRead]);
  useEffect(() => {
    if (!pausing) return;
    const timer = setTimeout(() => setPausing(false), retryMs);
    return () => clearTimeout(timer);
  }, [pausing]);
  return (
    <li ref={end} class="film-more">
      <span class="spinner" />
    </li>
  );
}

interface FrameProps {
  readonly job: JobObject;
  readonly index: number;
  /** The total number of frames; −1 if unknown. */
  readonly count: number;
}

function Frame({ job, index, count }: FrameProps) {
  const words = String(job.request.prompt ?? text.untitled);
  const isShown = shown.value?.id === job.id;
  return (
    <li aria-posinset={index + 1} aria-setsize={count}>
      <button
        type="button"
        class="frame"
        data-index={index}
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
