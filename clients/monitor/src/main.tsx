import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { applyTheme, savedTheme } from "./model/theme";
import { takeTokenOfAddress } from "./model/token";
import "./styles.css";
import { App } from "./ui/app";

applyTheme(savedTheme());
takeTokenOfAddress();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
