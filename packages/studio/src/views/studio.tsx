import { signal } from "@preact/signals";
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

/** The panel that narrow windows show; wide ones show all. */
const tab = signal<"depth" | "look" | "history">("look");

/** The whole page. */
export function Studio() {
  if (locked.value) return <SignIn />;
  const begun = hasPicture.value || shown.value !== null;
  return (
    <DropTarget>
      <div class="studio" data-begun={begun || undefined} data-tab={begun ? tab.value : undefined}>
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
    <nav class="tabs segments" aria-label={strings.tabs.label}>
      {names.map((name) => (
        <button
          key={name}
          type="button"
          data-name={name}
          aria-pressed={tab.value === name}
          onClick={() => {
            tab.value = name;
          }}
        >
          {strings.tabs[name]}
        </button>
      ))}
    </nav>
  );
}
