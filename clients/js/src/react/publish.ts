import { useCallback } from "react";
import type { PublishOptions } from "../core/index.js";
import { useClient } from "./provider.js";

/** Gives what publishes to a topic, `await publish(data)`, as `client.publish` does. The same function until the topic changes. */
export function usePublish<T = unknown>(topic: string): (data: T, options?: PublishOptions) => Promise<number> {
  const client = useClient();
  return useCallback((data, options) => client.publish(topic, data, options), [client, topic]);
}
