import { FileButton } from "../controls/file-button.js";
import { Icon } from "../design/icons.js";
import { capabilities, isBundled } from "../state/capabilities.js";
import { draft } from "../state/draft.js";
import { isTaking, takeFile } from "../state/pictures.js";
import { type SampleName, samples, takeSample } from "../state/samples.js";
import { strings } from "../strings.js";

const text = strings.welcome;

/** The empty page: a place to drop a picture, and sample scenes. */
export const Welcome = () => (
  <main class="welcome">
    <div class="welcome-inner">
      <section class="drop-area" aria-labelledby="welcome-title">
        <Planes />
        <h2 id="welcome-title">{text.title}</h2>
        <p class="quiet fine-only">{text.text}</p>
        <p class="quiet coarse-only">{text.touchText}</p>
        <p class="drop-actions">
          <FileButton class="button button-primary" onFile={(file) => void takeFile(file)}>
            <Icon name="picture" />
            {text.choose}
          </FileButton>
          <FileButton class="button coarse-only" camera onFile={(file) => void takeFile(file)}>
            <Icon name="camera" />
            {text.camera}
          </FileButton>
        </p>
        {draft.value.prompt.trim() !== "" && (
          <p class="quiet kept-prompt">{text.keptPrompt(draft.value.prompt.trim())}</p>
        )}
      </section>
      <section aria-labelledby="samples-title">
        <h3 id="samples-title" class="quiet samples-title">
          {text.samples}
        </h3>
        <ul class="samples">
          {/* Their prompts depend on the model. */}
          {(Object.keys(samples) as SampleName[]).map((name) => (
            <li key={name}>
              <button
                type="button"
                class="sample"
                disabled={isTaking.value || capabilities.value === null}
                onClick={() =>
                  void takeSample(name, text.samplePrompts[isBundled.value ? "bundled" : "flux"][name])
                }
              >
                <img src={samples[name].photo} width="512" height="512" alt="" />
                <span>{text.sample[name]}</span>
              </button>
            </li>
          ))}
        </ul>
      </section>
      {isBundled.value && (
        <p class="quiet small welcome-model">
          {text.smallModel} <code>{text.smallModelCommand}</code> {text.smallModelAfter}
        </p>
      )}
    </div>
  </main>
);

/** A picture that comes apart into planes: near is bright. */
const Planes = () => (
  <svg class="planes" viewBox="0 0 220 120" aria-hidden="true">
    <path class="plane plane-1" d="M96 14l84-8v70l-84 8z" />
    <path class="plane plane-2" d="M72 24l84-8v70l-84 8z" />
    <path class="plane plane-3" d="M48 34l84-8v70l-84 8z" />
    <path class="plane-scene" d="M56 92l22-30 14 15 12-12 20 20z" />
    <circle class="plane-scene" cx="112" cy="48" r="7" />
  </svg>
);
