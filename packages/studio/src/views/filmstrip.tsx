import { useRef } from "preact/hooks";
import { Icon } from "../design/icons.js";
import { hasMore, history, isReading, query, starredOnly } from "../state/history.js";
import { strings } from "../strings.js";
import { Film } from "./film.js";

const text = strings.history;

/** The history of jobs, newest first. */
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

/** The pause in typing, in milliseconds, before the server searches. */
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
