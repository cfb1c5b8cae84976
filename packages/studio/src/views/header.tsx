import { Icon } from "../design/icons.js";
import { capabilities, model } from "../state/capabilities.js";
import { clearPictures, hasPicture } from "../state/pictures.js";
import { isPaused, queue } from "../state/queue.js";
import { showDraft } from "../state/shown.js";
import { connection } from "../state/stream.js";
import { strings } from "../strings.js";
import { queueOpen } from "./queue-dialog.js";
import { shortcutsOpen } from "./shortcuts.js";

const text = strings.header;

export const Header = () => (
  <header class="header">
    <h1 class="brand">
      <Mark />
      {strings.product}
    </h1>
    <Status />
    <span class="spacer" />
    {hasPicture.value && (
      <button
        type="button"
        class="button button-quiet"
        title={text.newPictureHint}
        onClick={() => {
          showDraft("depth");
          clearPictures();
        }}
      >
        <Icon name="picture" />
        <span class="button-text">{text.newPicture}</span>
      </button>
    )}
    <button
      type="button"
      class="button button-quiet number"
      aria-haspopup="dialog"
      onClick={() => {
        queueOpen.value = true;
      }}
    >
      <Icon name={isPaused.value ? "pause" : "queue"} />
      {text.queue(queue.value.length)}
      {isPaused.value && <span class="quiet">{text.paused}</span>}
    </button>
    <button
      type="button"
      class="icon-button wide-only"
      aria-label={text.shortcuts}
      title={text.shortcuts}
      onClick={() => {
        shortcutsOpen.value = true;
      }}
    >
      <Icon name="keyboard" />
    </button>
  </header>
);

/** Planes that come nearer. */
const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
    <path class="mark-far" d="M11 5h16v16H11z" />
    <path class="mark-middle" d="M8 8h16v16H8z" />
    <path class="mark-near" d="M5 11h16v16H5z" />
  </svg>
);

function Status() {
  const state = connection.value;
  const server = capabilities.value;
  const words = {
    connecting: text.connecting,
    lost: text.lost,
    open: shortName(model.value),
  }[state];
  return (
    <p class="status" data-state={state} title={state === "open" ? (model.value ?? "") : undefined}>
      <span class="status-dot" />
      <span role="status">
        {words}
        {state === "open" && server && (
          <span class="status-device">{` · ${server.device.toUpperCase()}`}</span>
        )}
      </span>
    </p>
  );
}

/** A repository without its owner. */
const shortName = (name: string | null): string | undefined => name?.split("/").at(-1);
