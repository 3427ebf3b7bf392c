/** Whether a name is a pattern. */
export const isPattern = (name: string): boolean => name.includes("*");

/** Whether a topic is that of what is for one user alone. */
export const isInbox = (topic: string): boolean => /^user:.*:events$/s.test(topic);

/**
 * What tells whether a name covers a topic: its own, or those of a pattern, in which a `*` at the end is whatever
 * follows, and another one a segment between `.` and `:`. No pattern covers inboxes.
 */
export function matcher(name: string): (topic: string) => boolean {
  if (!isPattern(name)) return (topic) => topic === name;
  const source = name
    .replace(/[^\w*]/g, "\\$&")
    .replace(/\*(?=.)/g, "[^.:]*")
    .replace(/\*$/, ".*");
  const pattern = new RegExp(`^${source}$`);
  return (topic) => pattern.test(topic) && !isInbox(topic);
}
