import type { Json } from "@mflux-depth/server/contract";
import type { Field } from "../state/fields.js";
import { strings } from "../strings.js";

interface OptionFieldProps {
  readonly field: Field;
  /** Undefined for the default. */
  readonly value: Json | undefined;
  readonly onValue: (value: Json | undefined) => void;
}

/** One option of the server, as its schema describes it. */
export function OptionField({ field, value, onValue }: OptionFieldProps) {
  const id = `option-${field.name}`;
  const describedBy = `${id}-text`;
  const description = (
    <p id={describedBy} class="quiet small">
      {field.description}
      {field.defaultText && ` ${strings.look.defaultIs(field.defaultText)}.`}
    </p>
  );
  if (field.kind.type === "picture") return null;
  if (field.kind.type === "boolean")
    return (
      <div class="field">
        <label class="switch">
          <span class="field-label">{field.title}</span>
          <input
            id={id}
            type="checkbox"
            aria-describedby={describedBy}
            checked={(value ?? field.default) === true}
            onChange={({ currentTarget }) => onValue(currentTarget.checked)}
          />
        </label>
        {description}
      </div>
    );
  return (
    <div class="field">
      <label class="field-label" for={id}>
        {field.title}
      </label>
      <Control id={id} describedBy={describedBy} field={field} value={value} onValue={onValue} />
      {description}
    </div>
  );
}

interface ControlProps extends OptionFieldProps {
  readonly id: string;
  readonly describedBy: string;
}

function Control({ id, describedBy, field, value, onValue }: ControlProps) {
  const { kind } = field;
  const fallback = field.default === undefined ? strings.look.automatic : String(field.default);
  switch (kind.type) {
    case "choice":
      return (
        <select
          id={id}
          class="input"
          aria-describedby={describedBy}
          value={value === undefined ? "" : JSON.stringify(value)}
          onChange={({ currentTarget }) =>
            onValue(currentTarget.value === "" ? undefined : (JSON.parse(currentTarget.value) as Json))
          }
        >
          <option value="">{strings.look.defaultIs(fallback)}</option>
          {kind.values.map((choice) => (
            <option key={String(choice)} value={JSON.stringify(choice)}>
              {String(choice)}
            </option>
          ))}
        </select>
      );
    case "number":
      return (
        <input
          id={id}
          class="input number"
          type="number"
          aria-describedby={describedBy}
          min={kind.min}
          max={kind.max}
          step={kind.integer ? 1 : "any"}
          placeholder={fallback}
          value={typeof value === "number" ? value : ""}
          onChange={({ currentTarget }) => {
            const typed = kind.integer
              ? Math.round(currentTarget.valueAsNumber)
              : currentTarget.valueAsNumber;
            const taken = Number.isNaN(typed) ? undefined : Math.min(kind.max, Math.max(kind.min, typed));
            onValue(taken);
            currentTarget.value = String(taken ?? "");
          }}
        />
      );
    default:
      return (
        <input
          id={id}
          class="input"
          type="text"
          aria-describedby={describedBy}
          placeholder={fallback}
          value={typeof value === "string" ? value : ""}
          onChange={({ currentTarget }) => onValue(currentTarget.value.trim() || undefined)}
        />
      );
  }
}
