import { render } from "preact";
import "./design/system.css";
import "./canvas/canvas.css";
import { startStudio } from "./state/studio.js";
import { Studio } from "./views/studio.js";

startStudio();
render(<Studio />, document.getElementById("studio")!);
