import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

export default defineConfig({
  // Served from / by the server, whose content security policy allows files of its own only.
  build: {
    outDir: "../server/studio",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  plugins: [preact()],
});
