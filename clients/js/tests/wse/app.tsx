// An application as users of WSE's hook write it. Of it nothing is ours but the import.
import { useCallback, useEffect, useState } from "react";
import { MessagePriority, useWSE } from "../../src/wse/index.js";

interface Props {
  token: string | undefined;
  endpoint: string;
}

export function Dashboard({ token, endpoint }: Props) {
  const { connectionHealth, activeTopics, stats, diagnostics } = useWSE(token, ["prices", "notices"], {
    endpoints: [endpoint],
    reconnection: { mode: "adaptive", baseDelay: 50, maxDelay: 1000, maxAttempts: -1, factor: 1.5, jitter: true },
    offline: { enabled: true, maxSize: 1000, maxAge: 3600000, persistToStorage: true },
  });
  const [prices, setPrices] = useState<Record<string, number>>({});
  const [notices, setNotices] = useState<string[]>([]);

  useEffect(() => {
    const handler = (e: Event) => {
      const { symbol, price } = (e as CustomEvent).detail;
      setPrices((prev) => ({ ...prev, [symbol]: price }));
    };
    window.addEventListener("price_update", handler);
    return () => window.removeEventListener("price_update", handler);
  }, []);

  useEffect(() => {
    const handler = (e: Event) => {
      const { type, payload } = (e as CustomEvent).detail;
      setNotices((prev) => [`${type}: ${payload.text}`, ...prev].slice(0, 50));
    };
    window.addEventListener("notices", handler);
    return () => window.removeEventListener("notices", handler);
  }, []);

  return (
    <section aria-label="dashboard">
      <p aria-label="status">{connectionHealth}</p>
      <p aria-label="latency">{stats.averageLatency.toFixed(1)} ms</p>
      <p aria-label="quality">{diagnostics?.quality ?? "unknown"}</p>
      <p aria-label="topics">{activeTopics.join(", ")}</p>
      <ul aria-label="prices">
        {Object.entries(prices).map(([symbol, price]) => (
          <li key={symbol}>
            {symbol}: {price.toFixed(2)}
          </li>
        ))}
      </ul>
      <ul aria-label="notices">
        {notices.map((text, i) => (
          <li key={i}>{text}</li>
        ))}
      </ul>
    </section>
  );
}

export function ChatRoom({ token, endpoint, room }: Props & { room: string }) {
  const { subscribe, unsubscribe, sendMessage } = useWSE(token, [], { endpoints: [endpoint] });
  const [messages, setMessages] = useState<{ author: string; text: string }[]>([]);
  const [input, setInput] = useState("");

  useEffect(() => {
    const topic = `chat:${room}`;
    subscribe([topic]);
    return () => unsubscribe([topic]);
  }, [room, subscribe, unsubscribe]);

  useEffect(() => {
    const handler = (e: Event) => {
      const message = (e as CustomEvent).detail;
      setMessages((prev) => [...prev, message]);
    };
    window.addEventListener("message_sent", handler);
    return () => window.removeEventListener("message_sent", handler);
  }, []);

  const send = useCallback(() => {
    sendMessage(
      "publish",
      { topic: `chat:${room}`, type: "message_sent", data: { author: "me", text: input } },
      { priority: MessagePriority.HIGH },
    );
    setInput("");
  }, [input, room, sendMessage]);

  return (
    <section aria-label="chat">
      {messages.map((message, i) => (
        <p key={i}>
          {message.author}: {message.text}
        </p>
      ))}
      <input aria-label="text" value={input} onChange={(e) => setInput(e.target.value)} />
      <button onClick={send}>Send</button>
    </section>
  );
}
