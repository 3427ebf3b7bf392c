import type { FanfareError } from "fanfare-client";

/** Why the gateway refuses something: the code of its error, and its text. */
export type Reason = Pick<FanfareError, "code" | "message">;

/** Whether the gateway takes a name of a topic, or a pattern: docs/protocol.md, "subscribe". */
export const isName = (name: string): boolean =>
  name.length > 0 && name.length <= 128 && /^((\*|[\w-]*)[.:])*[\w-]*\*?$/.test(name);

/** What an operator does about a subscription that is refused. `isDemo`: no token is looked at. */
export function adviceOn(name: string, reason: Reason | undefined, isDemo: boolean): string {
  if (!isName(name)) return "A topic's name has 1 to 128 letters, digits and _ . : -; in a pattern a * is a whole segment or the end.";
  if (reason && !/^(REJECTED|FORBIDDEN)$/.test(reason.code)) return sentence(reason.message);
  if (name === "*") return `Name topics or prefixes instead, such as agent.*${isDemo ? "" : ", or take a token whose permissions cover everything"}.`;
  return isDemo ? "That takes a token, and demo mode looks at none." : "Take a token whose permissions cover it.";
}

/** The gateway's texts have no full stop, most of them. */
export const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);
