import { render } from "preact";
import { App } from "./app";
import "./theme";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/figures.css";
import "./styles/tables.css";
import "./styles/forms.css";
import "./styles/states.css";

render(<App />, document.getElementById("app")!);
