import { computed } from "@preact/signals";
import { shown } from "../state/shown.js";
import { progressText } from "./progress-text.js";

/** What the job on the canvas does; it changes with each stage, not with each step. */
const words = computed(() => (shown.value ? progressText(shown.value) : ""));

/** Tells screen readers how the job on the canvas goes on. */
export const Announcer = () => (
  <p class="visually-hidden" aria-live="polite">
    {words}
  </p>
);
