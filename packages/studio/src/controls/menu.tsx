import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "../design/icons.js";

interface MenuProps {
  readonly label: string;
  readonly icon: IconName;
  readonly children: ComponentChildren;
}

/** A button that opens a list of actions. The browser closes it on Escape or a click elsewhere and returns the focus. */
export function Menu({ label, icon, children }: MenuProps) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  /** Places the menu above the button, within the window. */
  const place = (): void => {
    if (!menu.current || !button.current) return;
    const { left, right, top, bottom } = button.current.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu.current;
    const x = left + width > innerWidth - 8 ? right - width : left;
    const y = top - height - 6 < 8 ? bottom + 6 : top - height - 6;
    Object.assign(menu.current.style, { left: `${Math.max(8, x)}px`, top: `${y}px` });
  };
  const move = (event: KeyboardEvent): void => {
    const items = [...(menu.current?.querySelectorAll("button") ?? [])];
    const at = items.indexOf(document.activeElement as HTMLButtonElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    items.at(next % items.length)?.focus();
  };
  return (
    <>
      <button ref={button} type="button" class="button" popovertarget={id} aria-haspopup="menu">
        <Icon name={icon} />
        <span class="button-text">{label}</span>
      </button>
      <div
        ref={menu}
        id={id}
        class="menu"
        popover="auto"
        role="menu"
        aria-label={label}
        onToggle={(event) => {
          if (event.newState !== "open") return;
          place();
          menu.current?.querySelector("button")?.focus();
        }}
        onKeyDown={move}
        onClick={() => menu.current?.hidePopover()}
      >
        {children}
      </div>
    </>
  );
}

interface MenuItemProps {
  readonly icon?: IconName;
  readonly onClick: () => void;
  readonly children: ComponentChildren;
}

export const MenuItem = ({ icon, onClick, children }: MenuItemProps) => (
  <button type="button" class="menu-item" role="menuitem" onClick={onClick}>
    {icon && <Icon name={icon} />}
    {children}
  </button>
);
