import { render } from "preact";
import "./design/system.css";

render(<main>mflux-depth</main>, document.getElementById("studio")!);
