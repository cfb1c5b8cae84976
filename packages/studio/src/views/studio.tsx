import { computed, effect, signal } from "@preact/signals";
import { hasPicture, taken } from "../state/pictures.js";
import { locked } from "../state/session.js";
import { showings, shown } from "../state/shown.js";
import { strings } from "../strings.js";
import { Announcer } from "./announcer.js";
import { CanvasArea } from "./canvas-area.js";
import { DepthPanel } from "./depth-panel.js";
import { DropTarget } from "./drop-target.js";
import { Filmstrip } from "./filmstrip.js";
import { GenerateBar } from "./generate-bar.js";
import { Header } from "./header.js";
import { LookPanel } from "./look-panel.js";
import { Notices } from "./notices.js";
import { QueueDialog } from "./queue-dialog.js";
import { Shortcuts } from "./shortcuts.js";
import { SignIn } from "./sign-in.js";
import { Welcome } from "./welcome.js";
import "./layout.css";
import "./views.css";

/** The panel that narrow windows show, null for none; wide windows show all. */
const tab = signal<"depth" | "look" | "history" | null>("look");

/** Windows with a sheet under the canvas, and those that show one panel at a time. */
const isNarrow = (): boolean => matchMedia("(max-width: 699px)").matches;
const hasTabs = (): boolean => matchMedia("(max-width: 1099px)").matches;

/** A job changes with every step, but the shown one stays the same. */
const shownId = computed(() => shown.value?.id ?? null);

/** On narrow windows the sheet makes room for a job when it is put on the canvas. */
effect(() => {
  void showings.value;
  if (shownId.value !== null && isNarrow()) tab.value = null;
});

/** The classification of the last file is shown next to its depth. */
effect(() => {
  if (taken.value && hasTabs()) tab.value = "depth";
});

/** The whole page. */
export function Studio() {
  if (locked.value) return <SignIn />;
  const begun = hasPicture.value || shown.value !== null;
  return (
    <DropTarget>
      <div class="studio" data-begun={begun || undefined} data-tab={(begun && tab.value) || undefined}>
        <Header />
        {begun ? (
          <>
            <CanvasArea />
            <Tabs />
            <DepthPanel />
            <LookPanel />
            <GenerateBar />
          </>
        ) : (
          <Welcome />
        )}
        <Filmstrip />
      </div>
      <Notices />
      <QueueDialog />
      <Shortcuts />
      <Announcer />
    </DropTarget>
  );
}

function Tabs() {
  const names = ["depth", "look", "history"] as const;
  return (
    <nav class="tabs" aria-label={strings.tabs.label}>
      <div class="segments">
        {names.map((name) => (
          <button
            key={name}
            type="button"
            data-name={name}
            aria-pressed={tab.value === name}
            onClick={() => {
              tab.value = tab.value === name ? null : name;
            }}
          >
            {strings.tabs[name]}
          </button>
        ))}
      </div>
    </nav>
  );
}
