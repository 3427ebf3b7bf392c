// Follows topics over WebSocket through lost connections, restarts, tokens that expire, and rates.
//
//   getToken(refused)              asked for each connection, and before a token ends: a token, or nothing where
//                                  a cookie has it. `refused`: the last one is not valid. It must end, and may throw
//   last                           how many of a topic's newest events to begin with, where no position is known
//   onEvent(topic, data, message)  an event, each once
//   onGap(topic, lost)             `lost` events are missing (null: nobody knows how many): load the state
//                                  anew. The topic is null if it is one of a pattern and not known which
//   onPresence(topic, data, seq)   somebody has come or gone
//   onState(state, why)            "connecting", "open", "waiting" (it goes on by itself) or "ended"
//   onOther(message)               every other frame
function follow(url, topics, handlers) {
  const ignore = () => {};
  const { getToken = ignore, last = 0, onEvent = ignore, onGap = ignore } = handlers;
  const { onPresence = ignore, onState = ignore, onOther = ignore } = handlers;
  const RECOVER_MAX = 50;      // topics to recover at once: the gateway's `events.max_subscriptions`
  const REQUESTS_MAX = 1000;   // requests that wait for an answer
  const positions = new Map(); // topic -> { epoch, offset } of its newest event, the newest last
  const renewed = new Map();   // topic -> where it goes on after the gap that is about to be told
  const requests = new Map();  // id -> { request, sent, resolve, reject }, in their order
  let socket, retry, pause;    // the connection, what makes the next one, what ends the wait for a rate
  let open = false, ended = false, refused = false, forgotten = false;
  let attempts = 0, quiet = 0, lastId = 0, inbox, renewal;

  async function connect() {
    retry = undefined;
    onState("connecting");
    const address = new URL(url);
    if (inbox) address.searchParams.set("inbox_after", inbox);
    try {
      const token = await getToken(refused);
      if (ended) return;
      socket = new WebSocket(address, token ? ["bearer", token] : []);
    } catch (error) {
      return again(error.message);
    }
    refused = false;
    quiet = 0;
    socket.onmessage = ({ data }) => {
      quiet = 0;
      handle(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => lost(code, reason);
  }

  function again(why) {
    if (ended) return;
    const longest = Math.min(30_000, 1000 * 2 ** attempts++);
    const delay = longest / 2 + Math.random() * longest / 2;
    onState("waiting", `${why}; again in ${(delay / 1000).toFixed(1)} s`);
    retry = setTimeout(connect, delay);
  }

  function lost(code, reason) {
    socket = undefined;
    open = false;
    clearTimeout(renewal);
    pause = clearTimeout(pause);
    renewed.clear();
    const why = reason || (code === 1006 ? "connection lost" : `closed with ${code}`);
    for (const [id, { sent, reject }] of requests) {
      if (!sent) continue; // it goes out on the next connection
      requests.delete(id);
      reject(new Error(`${why}: whether it was done is not known`));
    }
    refused = code === 4002 || /^Authentication/.test(reason);
    // After these the same would only happen again.
    const final = refused ? !handlers.getToken
      : code === 1008 ? !/^Too many (connections|messages)|^Message not finished/.test(reason)
      : [1002, 1003, 1007].includes(code);
    if (final) end(why);
    else again(why);
  }

  // Gives the connection up without waiting for the other end, which may be gone.
  function drop(why) {
    socket.onmessage = socket.onclose = null;
    socket.close();
    lost(1006, why);
  }

  function end(why) {
    if (ended) return;
    ended = true;
    clearInterval(watch);
    clearTimeout(retry);
    clearTimeout(pause);
    clearTimeout(renewal);
    for (const { reject } of requests.values()) reject(new Error(why));
    requests.clear();
    onState("ended", why);
  }

  // A network that goes away says nothing. What is quiet is asked, and then given up.
  const watch = setInterval(() => {
    quiet += 1;
    if (quiet === 2 && socket?.readyState === WebSocket.OPEN) send({ type: "ping" });
    if (quiet >= 4 && socket) drop("no answer");
  }, 10_000);

  function send(message) {
    socket.send(JSON.stringify(message));
  }

  function subscribe() {
    // Where topics' positions were forgotten a pattern's would repeat events: a gap is told instead.
    const known = [...positions].filter(([topic]) => !forgotten || !topic.includes("*"));
    const isNew = (topic) => last && !topic.includes("*") && !positions.has(topic);
    const begun = topics.filter(isNew).slice(0, RECOVER_MAX - known.length).map((topic) => [topic, { last }]);
    send({ type: "subscribe", id: "subscribe", events: topics, recover: Object.fromEntries([...known, ...begun]) });
  }

  function handle(message) {
    switch (message.type) {
      case "batch":
        return message.messages.forEach(handle);
      case "event": {
        // Said to this connection alone by an application.
        if (!message.event_id) return onEvent(message.event, message.data, message);
        const [epoch, offset] = message.event_id.split("-");
        const topic = message.topic ?? message.event;
        if (/^user:.*:events$/.test(topic) && !topics.includes(topic)) inbox = message.event_id;
        else if (!advance(topic, epoch, offset)) return;
        return onEvent(message.event, message.data, message);
      }
      case "gap":
        if (message.event === null) return drop("answers are missing");
        // The confirmation said where it goes on.
        if (renewed.has(message.event)) positions.set(message.event, renewed.get(message.event));
        renewed.delete(message.event);
        return onGap(message.event, message.lost);
      case "presence":
        return onPresence(message.event, message.data, message.presence_seq);
      case "connection_established":
        renewBefore(message);
        subscribe();
        break;
      case "subscription_confirmed":
        confirmed(message);
        break;
    }
    answered(message);
    onOther(message);
  }

  // Gets a new token before this one ends, and goes on with it. Without one the connection ends and is made anew.
  function renewBefore({ expires_at, timestamp }) {
    if (!expires_at || !handlers.getToken) return;
    const left = Date.parse(expires_at) - Date.parse(timestamp), own = socket;
    renewal = setTimeout(async () => {
      try {
        const token = await getToken(false);
        if (!token || socket !== own || !open) return;
        const answer = await ask({ type: "authenticate", token });
        if (answer.expires_at > expires_at && socket === own) renewBefore(answer);
      } catch { /* it is asked for again when the connection has ended */ }
    }, Math.min(Math.max(left / 2, left - 60_000), 2 ** 31 - 1));
  }

  function confirmed({ id, topics: places = {}, rejected }) {
    const wasForgotten = forgotten;
    forgotten = false;
    for (const [topic, { epoch, offset, recovered, count = 0 }] of Object.entries(places)) {
      // Recovered: what was missed follows, and moves the position as it comes.
      // Not recovered: a gap follows. Until then, the old position holds.
      if (recovered === false) renewed.set(topic, { epoch: String(epoch), offset: String(offset) });
      else advance(topic, String(epoch), String(BigInt(offset) - BigInt(count)));
    }
    if (id !== "subscribe") return;
    open = true;
    attempts = 0;
    onState("open", rejected ? `not subscribed: ${rejected.join(", ")}` : "");
    if (wasForgotten) onGap(null, null);
    flush();
  }

  // Moves a topic's position, and never back. False if it has been there.
  function advance(topic, epoch, offset) {
    const known = positions.get(topic);
    if (known?.epoch === epoch && BigInt(offset) <= BigInt(known.offset)) return false;
    positions.delete(topic);
    positions.set(topic, { epoch, offset });
    if (positions.size > RECOVER_MAX) {
      const oldest = [...positions.keys()].find((topic) => !topics.includes(topic));
      forgotten = positions.delete(oldest) || forgotten;
    }
    return true;
  }

  // An answer to a request. What was over a rate has not been done, and is sent again.
  function answered({ type, id, code, message, details, ...answer }) {
    const request = requests.get(id);
    if (code === "RATE_LIMIT_EXCEEDED" || code === "BUSY") {
      const seconds = (details?.retry_after ?? 1) + Math.random();
      if (request) request.sent = false;
      if (!open) onState("waiting", `${message}; again in ${seconds.toFixed(1)} s`);
      pause ??= setTimeout(() => {
        pause = undefined;
        if (open) flush();
        else subscribe();
      }, seconds * 1000);
    } else if (request) {
      requests.delete(id);
      if (type === "error") request.reject(new Error(`${message} (${code})`));
      else request.resolve(answer);
    } else if (id === "subscribe" && type === "error" && !open) {
      end(`${message} (${code})`);
      socket.close(1000);
    }
  }

  function flush() {
    if (!open || pause) return;
    for (const [id, waiting] of requests) {
      if (!waiting.sent) send({ ...waiting.request, id });
      waiting.sent = true;
    }
  }

  // Sends a request when it can be, and gives its answer.
  function ask(request) {
    return new Promise((resolve, reject) => {
      if (ended) return reject(new Error("Not connected any more"));
      if (requests.size >= REQUESTS_MAX) return reject(new Error("Too many requests wait for an answer"));
      requests.set(++lastId, { request, sent: false, resolve, reject });
      flush();
    });
  }

  connect();
  return {
    ask,
    publish: async (topic, data) => (await ask({ type: "publish", event: topic, data })).result.offset,
    // Tries at once instead of later, or anew.
    reconnect() {
      if (socket) return drop("reconnecting");
      if (!retry) return;
      clearTimeout(retry);
      connect();
    },
    stop() {
      end("stopped");
      socket?.close(1000);
    },
  };
}
