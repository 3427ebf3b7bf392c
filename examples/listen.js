// Follows topics over EventSource, through what makes an EventSource give up, too: a proxy's 502, a token that
// has expired, a gateway that is full.
//
//   withCredentials              sends this site's cookies to another host
//   types                        what events are called that were published with a `type`
//   getToken(refused)            asked for each connection: a token, or nothing where a cookie has it.
//                                `refused`: the last one was not valid. It must end, and may throw
//   onEvent(name, data, id)      an event, each once
//   onGap(topic, lost)           `lost` events are missing (null: nobody knows how many): load the state anew
//   onPresence(topic, data, seq) somebody has come or gone
//   onState(state, why)          "connecting", "open", "waiting" (it goes on by itself) or "ended"
function listen(url, topics, { withCredentials = false, types = [], ...handlers }) {
  const ignore = () => {};
  const { getToken = ignore, onEvent = ignore, onGap = ignore } = handlers;
  const { onPresence = ignore, onState = ignore } = handlers;
  let source, retry, lastId = "", attempts = 0, opened = false, ended = false, refused = false;

  async function connect() {
    retry = source = undefined;
    onState("connecting");
    const address = new URL(url);
    address.searchParams.set("topics", topics.join(","));
    if (lastId) address.searchParams.set("last_event_id", lastId);
    try {
      const token = await getToken(refused);
      if (token) address.searchParams.set("token", token);
    } catch (error) {
      return again(error.message);
    }
    if (ended) return;
    refused = false;
    const own = source = new EventSource(address, { withCredentials });
    own.onopen = () => {
      attempts = 0;
      onState("open");
      // Nobody knows where a stream without an event has ended.
      if (opened && !lastId) topics.forEach((topic) => onGap(topic, null));
      opened = true;
    };
    own.onerror = async () => {
      const gaveUp = own.readyState === EventSource.CLOSED;
      own.close(); // by itself it would come back with the same token
      const { why, final } = gaveUp ? await explain(address) : { why: "connection lost" };
      if (ended || source !== own) return;
      if (final) end(why);
      else again(why);
    };
    const on = (name, handle) => own.addEventListener(name, ({ data, lastEventId }) => {
      lastId = lastEventId || lastId; // of several gaps one has it
      handle(JSON.parse(data));
    });
    for (const name of new Set([...topics, ...types])) on(name, (data) => onEvent(name, data, lastId));
    on("gap", ({ event, lost }) => onGap(event, lost));
    on("presence", ({ event, data, presence_seq }) => onPresence(event, data, presence_seq));
  }

  // An EventSource does not say why it was refused; asking again does.
  async function explain(address) {
    const abort = new AbortController();
    const timeout = setTimeout(() => abort.abort(), 10_000);
    try {
      const credentials = withCredentials ? "include" : "same-origin";
      const answer = await fetch(address, { credentials, signal: abort.signal });
      if (answer.ok) return { why: "connection lost" };
      const { detail } = await answer.json().catch(() => ({})); // a proxy's own answer has none
      refused = answer.status === 401;
      const hopeless = refused ? !handlers.getToken : [400, 403, 404, 405].includes(answer.status);
      return { why: `${detail ?? "refused"} (${answer.status})`, final: detail && hopeless };
    } catch {
      return { why: "cannot be reached" };
    } finally {
      clearTimeout(timeout);
      abort.abort();
    }
  }

  function again(why) {
    if (ended) return;
    const longest = Math.min(30_000, 1000 * 2 ** attempts++);
    const delay = longest / 2 + Math.random() * longest / 2;
    onState("waiting", `${why}; again in ${(delay / 1000).toFixed(1)} s`);
    retry = setTimeout(connect, delay);
  }

  function end(why) {
    if (ended) return;
    ended = true;
    clearTimeout(retry);
    source?.close();
    onState("ended", why);
  }

  connect();
  return {
    // Tries at once instead of later, or anew.
    reconnect() {
      if (retry) {
        clearTimeout(retry);
        connect();
      } else if (source) {
        source.close();
        source = undefined;
        again("reconnecting");
      }
    },
    stop: () => end("stopped"),
  };
}
