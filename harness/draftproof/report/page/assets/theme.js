"use strict";
// What every script shares: the data, inflating it, and which theme is on.
const page = {
  data: JSON.parse(document.getElementById("data").textContent),

  async inflate(id) {
    const text = document.getElementById(id).textContent;
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  },

  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  },

  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },

  element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  },

  themeChanged: [],
};

(() => {
  const tell = () => page.themeChanged.forEach((listener) => listener());
  document.getElementById("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = page.isDark() ? "light" : "dark";
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);

  const copy = document.getElementById("copy");
  copy.addEventListener("click", () => {
    getSelection().selectAllChildren(document.getElementById("command"));
    const copied = document.execCommand("copy");
    copy.textContent = copied ? "Copied" : "Selected";
  });
})();
