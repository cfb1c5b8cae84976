import { effect, signal } from "@preact/signals";
import { hasPicture } from "../state/pictures.js";
import { locked } from "../state/session.js";
import { shown } from "../state/shown.js";
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

/** On narrow windows the sheet makes room for a job that is shown. */
effect(() => {
  const id = shown.value?.id;
  if (id && matchMedia("(max-width: 699px)").matches) tab.value = null;
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
