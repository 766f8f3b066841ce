import { theme, type Theme } from "./theme";

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" class="mark">
      <rect width="32" height="32" rx="7" />
      <path d="M16 16 7.5 8.5M16 16l8.5-7.5M16 16 7.5 23.5M16 16l8.5 7.5" />
      <circle cx="16" cy="16" r="4.4" />
      <circle cx="7.5" cy="8.5" r="2.6" />
      <circle cx="24.5" cy="8.5" r="2.6" />
      <circle cx="7.5" cy="23.5" r="2.6" />
      <circle cx="24.5" cy="23.5" r="2.6" />
    </svg>
  );
}

export function ThemeChoice() {
  const choices: [Theme, string][] = [
    ["auto", "Auto"],
    ["light", "Light"],
    ["dark", "Dark"],
  ];
  return (
    <fieldset class="segments">
      <legend class="hide">Colours</legend>
      {choices.map(([value, label]) => (
        <label key={value}>
          <input type="radio" name="theme" value={value} checked={theme.value === value} onChange={() => (theme.value = value)} />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
