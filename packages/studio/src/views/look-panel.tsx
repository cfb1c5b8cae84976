import type { EstimatorObject } from "@mflux-depth/server/contract";
import { memoryText, roughTime } from "../controls/format.js";
import { Slider } from "../controls/slider.js";
import { Icon } from "../design/icons.js";
import { capabilities, loadFields, model, models, requestFields } from "../state/capabilities.js";
import { draft, setLoadOption, setOption } from "../state/draft.js";
import type { Field } from "../state/fields.js";
import { largestSeed, randomSeed } from "../state/generation.js";
import { offeredLoras } from "../state/loras.js";
import { resetOptions } from "../state/reuse.js";
import { strings } from "../strings.js";
import { LoraField } from "./lora-field.js";
import { MaskField } from "./mask-field.js";
import { OptionField } from "./option-field.js";
import { PromptField } from "./prompt-field.js";
import { SizeField } from "./size-field.js";

const text = strings.look;

/** Options with their own place on the page. */
const placed = new Set([
  ...[
    "prompt",
    "image",
    "depth_image",
    "mask_image",
    "image_strength",
    "width",
    "height",
    "steps",
    "guidance",
    "seed",
  ],
  ...["best_of", "size", "fit", "trust_depth", "depth_near", "depth_far", "depth_gamma", "invert_depth"],
]);

/** The prompt and the options: a few visible, the rest folded. */
export function LookPanel() {
  const fields = new Map(requestFields.value.map((field) => [field.name, field]));
  const numberField = (name: string, label: string, hint: string | undefined, unit?: string) => {
    const field = fields.get(name);
    return (
      field && <NumberOption field={field} label={label} {...(hint && { hint })} {...(unit && { unit })} />
    );
  };
  const folded = requestFields.value.filter(({ name }) => !placed.has(name));
  return (
    <section class="panel look-panel" aria-labelledby="look-title">
      <h2 id="look-title" class="visually-hidden">
        {text.title}
      </h2>
      <PromptField />
      {draft.value.photo && <KeepOfPhoto />}
      {draft.value.photo && <MaskField photo={draft.value.photo} />}
      <SizeField />
      {numberField("steps", text.steps, undefined)}
      {numberField("guidance", text.guidance, text.guidanceHint)}
      <SeedField />
      {numberField("best_of", text.bestOf, text.bestOfHint)}
      <details class="more">
        <summary>
          <Icon name="chevron" />
          {text.more}
        </summary>
        <div class="more-fields">
          {generators().length > 1 && <ModelField />}
          {offeredLoras.value.length > 0 && <LoraField />}
          <EstimatorField />
          {folded.map((field) => (
            <OptionField
              key={field.name}
              field={field}
              value={draft.value.request[field.name]}
              onValue={(value) => setOption(field.name, value)}
            />
          ))}
          {loadFields.value
            .filter(({ name }) => name !== "model" && name !== "depth_model")
            .map((field) => (
              <OptionField
                key={field.name}
                field={field}
                value={draft.value.load[field.name]}
                onValue={(value) => setLoadOption(field.name, value)}
              />
            ))}
          <button type="button" class="button button-quiet" onClick={resetOptions}>
            {text.resetAll}
          </button>
        </div>
      </details>
    </section>
  );
}

interface NumberOptionProps {
  readonly field: Field;
  readonly label: string;
  readonly hint?: string;
  readonly unit?: string;
}

function NumberOption({ field, label, hint, unit }: NumberOptionProps) {
  if (field.kind.type !== "number") return null;
  const fallback = typeof field.default === "number" ? field.default : field.kind.min;
  const set = draft.value.request[field.name];
  return (
    <Slider
      id={`option-${field.name}`}
      label={label}
      hint={hint ?? field.description}
      value={typeof set === "number" ? set : fallback}
      fallback={fallback}
      range={sliderRange(field.name, field.kind.slider)}
      limits={field.kind}
      step={field.kind.integer ? 1 : 0.5}
      {...(unit && { unit })}
      onValue={(value) => setOption(field.name, value)}
      onReset={() => setOption(field.name, undefined)}
    />
  );
}

/** Guidance may be up to 100, but useful values should get more than a tenth of the slider. */
const sliderRange = (name: string, range: { readonly min: number; readonly max: number }) =>
  name === "guidance" ? { min: range.min, max: Math.min(range.max, 30) } : range;

/** How much of the photo to keep, in percent. */
function KeepOfPhoto() {
  const set = draft.value.request.image_strength;
  return (
    <Slider
      id="option-image_strength"
      label={text.keep}
      hint={text.keepHint}
      value={Math.round(100 * (typeof set === "number" ? set : 0))}
      fallback={0}
      range={{ min: 0, max: 100 }}
      step={1}
      unit="%"
      onValue={(percent) => setOption("image_strength", percent / 100)}
      onReset={() => setOption("image_strength", undefined)}
    />
  );
}

function SeedField() {
  const { seed } = draft.value.request;
  return (
    <div class="field row-field">
      <label class="field-label" for="option-seed" title={text.seedHint}>
        {text.seed}
      </label>
      <span class="seed">
        <input
          id="option-seed"
          class="input number"
          type="number"
          min={1}
          max={largestSeed}
          placeholder={text.seedRandom}
          title={text.seedHint}
          value={typeof seed === "number" ? seed : ""}
          onChange={({ currentTarget }) => {
            const typed = Math.floor(currentTarget.valueAsNumber);
            const taken = typed > 0 ? Math.min(largestSeed, typed) : undefined;
            setOption("seed", taken);
            currentTarget.value = String(taken ?? "");
          }}
        />
        <button
          type="button"
          class="icon-button"
          aria-label={text.roll}
          title={text.roll}
          onClick={() => setOption("seed", randomSeed())}
        >
          <Icon name="dice" />
        </button>
      </span>
    </div>
  );
}

const ModelField = () => (
  <div class="field">
    <label class="field-label" for="load-model">
      {text.model}
    </label>
    <select
      id="load-model"
      class="input"
      value={model.value ?? ""}
      onChange={({ currentTarget }) => setLoadOption("model", currentTarget.value)}
    >
      {generators().map(({ id, ready }) => (
        <option key={id} value={id} disabled={!ready}>
          {id}
        </option>
      ))}
    </select>
  </div>
);

/** All models except LoRAs and depth estimators. */
const generators = () =>
  models.value.filter(
    ({ id, lora }) => !lora && !capabilities.value?.estimators.some((estimator) => estimator.id === id),
  );

/** The depth estimators with their licences. Those that this server does not offer are disabled. */
const EstimatorField = () => (
  <div class="field">
    <label class="field-label" for="load-depth_model">
      {text.estimator}
    </label>
    <select
      id="load-depth_model"
      class="input"
      aria-describedby="load-depth_model-text"
      value={String(draft.value.load.depth_model ?? "")}
      onChange={({ currentTarget }) => setLoadOption("depth_model", currentTarget.value || undefined)}
    >
      <option value="">{text.automatic}</option>
      {capabilities.value?.estimators.map((estimator) => (
        <option key={estimator.id} value={estimator.id} disabled={!(estimator.ready && estimator.offered)}>
          {estimatorText(estimator)}
        </option>
      ))}
      <optgroup label={text.otherEstimators}>
        {/* Models that may include an estimator. */}
        {generators().map(({ id, ready }) => (
          <option key={id} value={id} disabled={!ready}>
            {id}
          </option>
        ))}
      </optgroup>
    </select>
    <p id="load-depth_model-text" class="quiet small">
      {text.estimatorHint}
    </p>
  </div>
);

const estimatorText = ({ id, licence, memory_bytes: bytes, cpu_seconds: seconds }: EstimatorObject): string =>
  text.estimatorFacts(
    id.split("/").at(-1)!,
    licence,
    memoryText(bytes),
    seconds === null ? null : roughTime(seconds),
  );
