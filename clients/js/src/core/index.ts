/** The largest delay between two attempts to connect, in milliseconds. */
export const DELAY_MS_MAX = 20_000;
