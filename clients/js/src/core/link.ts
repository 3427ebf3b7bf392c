/** What a frame is before it has been looked at: an object of JSON. */
export type Frame = Readonly<Record<string, any>>;

/** One connection, of whichever transport. What it says after it has ended or was closed does not count. */
export interface Link {
  /** Sends a message, JSON. */
  send(text: string): void;
  /** Ends it at once, without waiting for the other end. */
  close(): void;
}

/** What a connection tells its client. */
export interface Listener {
  /** Something came, be it no message. */
  heard(): void;
  /** A message: text that should be JSON, or what that stands for. */
  frame(frame: unknown): void;
  /** `hint`: milliseconds that the other end wants to be left alone. */
  end(code: number, reason: string, hint?: number): void;
}
