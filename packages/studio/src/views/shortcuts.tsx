import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { View } from "../canvas/index.js";
import { Dialog } from "../controls/dialog.js";
import { generate } from "../state/generation.js";
import { comparison, hasPhoto, pictures, showsGrid, view } from "../state/shown.js";
import { strings } from "../strings.js";
import { canGenerate } from "./generate-bar.js";
import { queueOpen } from "./queue-dialog.js";

const text = strings.shortcuts;

export const shortcutsOpen = signal(false);

/** Whether the key that shows the photo is down. */
export const holding = signal(false);

/** Toggles a comparison with the photo, or with the depth if there is no photo. */
export function toggleComparison(): void {
  if (comparison.value) {
    comparison.value = null;
    return;
  }
  showsGrid.value = false;
  const { depth, result } = pictures.value;
  const base: View = hasPhoto.value ? "photo" : "depth";
  if (view.value === base) view.value = result ? "result" : depth && base === "photo" ? "depth" : "relief";
  comparison.value = { with: base, mode: "slider" };
}

/** Handles the keys, and shows the list of them. */
export function Shortcuts() {
  useEffect(() => {
    document.addEventListener("keydown", press);
    document.addEventListener("keyup", release);
    window.addEventListener("blur", release);
    return () => {
      document.removeEventListener("keydown", press);
      document.removeEventListener("keyup", release);
      window.removeEventListener("blur", release);
    };
  }, []);
  return (
    <Dialog
      title={text.title}
      closeLabel={text.close}
      open={shortcutsOpen.value}
      onClose={() => {
        shortcutsOpen.value = false;
      }}
    >
      <dl class="shortcuts">
        {text.list.map(([keys, action]) => (
          <div key={action}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{action}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

const viewKeys: Readonly<Record<string, View>> = { 1: "photo", 2: "depth", 3: "relief", 4: "result" };

function press(event: KeyboardEvent): void {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
    event.preventDefault();
    if (canGenerate()) void generate();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || takesKeys(event.target)) return;
  const chosen = viewKeys[event.key];
  if (chosen) {
    showsGrid.value = false;
    view.value = chosen;
    // A view is not compared with itself.
    if (comparison.value?.with === chosen) comparison.value = null;
    return;
  }
  switch (event.key) {
    case " ":
      // Space presses a focused button or switch.
      if (event.target instanceof HTMLElement && event.target.closest("button, a, summary, [type=checkbox]"))
        return;
      event.preventDefault();
      holding.value = true;
      break;
    case "c":
      toggleComparison();
      break;
    case "q":
      queueOpen.value = true;
      break;
    case "/":
      event.preventDefault();
      document.getElementById("search")?.focus();
      break;
    case "?":
      shortcutsOpen.value = true;
      break;
  }
}

function release(event: Event): void {
  if (!(event instanceof KeyboardEvent) || event.key === " ") holding.value = false;
}

/** Whether the focused element takes typing, or a dialog is open. */
function takesKeys(target: EventTarget | null): boolean {
  if (document.querySelector("dialog[open]")) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "range"].includes(target.type);
  return target.closest("textarea, select, [role=menu]") !== null;
}
