/** What is logged: that level and those above it. */
export const LogLevel = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3, NONE: 4 } as const;

const at =
  (name: "debug" | "info" | "warn" | "error", level: number) =>
  (...words: unknown[]): void => {
    if (logger.level <= level) logger.sink[name]("[wse]", ...words);
  };

/** Where the parts log to. The level is WARN; `logger.sink` may be another console. */
export const logger = {
  level: LogLevel.WARN as number,
  sink: console as Pick<Console, "debug" | "info" | "warn" | "error">,
  debug: at("debug", 0),
  info: at("info", 1),
  warn: at("warn", 2),
  error: at("error", 3),
};
