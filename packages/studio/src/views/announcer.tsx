import { computed } from "@preact/signals";
import { shown } from "../state/shown.js";
import { progressText } from "./progress-text.js";

/** The activity of the job on the canvas; it changes with each stage, not with each step. */
const words = computed(() => (shown.value ? progressText(shown.value) : ""));

/** Announces the progress of the job on the canvas to screen readers. */
export const Announcer = () => (
  <p class="visually-hidden" aria-live="polite">
    {words}
  </p>
);
