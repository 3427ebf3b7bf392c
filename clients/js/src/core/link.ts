/** What a frame is before it has been looked at: an object of JSON. */
export type Frame = Readonly<Record<string, any>>;

/** One connection, of whichever transport. It says nothing any more once it has ended or was closed. */
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
  frame(frame: unknown): void;
  /** `hint`: milliseconds that the other end wants to be left alone. */
  end(code: number, reason: string, hint?: number): void;
}
